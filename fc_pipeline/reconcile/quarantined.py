"""Events in quarantine: until they are replayed they are in no table, though this release may understand them."""

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import replace
from typing import Final

import sqlalchemy as sa

from fc_pipeline.fold.quarantine import IS_OPEN_EVENT
from fc_pipeline.hours import Hour
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.replica import Replica

__all__ = ["IN_HOURS", "quarantined_of_hour", "without_quarantined"]

IN_HOURS: Final = (
    f"{IS_OPEN_EVENT} AND EXISTS (SELECT FROM pipeline.coverage AS c WHERE c.partition = ANY ({{partitions}}) "
    # A record without an id of its own has that of its predecessor, which may stand in the block before.
    "AND c.shard = q.shard AND q.event_id >> 14 BETWEEN c.from_height - 1 AND c.to_height)"
)
"""Of a line `q` of the quarantine: it is an event in quarantine, of one of these hours."""

_OF_HOUR: Final = sa.text(
    "SELECT q.raw FROM pipeline.quarantine AS q "
    f"WHERE q.shard = :shard AND {IN_HOURS.format(partitions='ARRAY[:partition]')}"
)


def quarantined_of_hour(replica: Replica, hour: Hour, shard: int) -> frozenset[bytes]:
    """The raw bytes of a shard's events of an hour that are in quarantine, unresolved."""
    with replica.engine.connect() as connection:
        rows = connection.execute(_OF_HOUR, {"shard": shard, "partition": hour.key})
        return frozenset(bytes(raw) for raw in rows.scalars())


def without_quarantined(batch: EventBatch, raws: Collection[bytes]) -> EventBatch:
    """The batch without the events whose raw bytes are these; what cannot be decoded is left in it."""
    if not raws:
        return batch
    ids = batch.event_ids
    # A record without an id of its own stands behind its predecessor under the same one.
    kept = [event for event in batch.events if batch.raws[bisect_left(ids, event.id)] not in raws]
    return batch if len(kept) == len(batch.events) else replace(batch, events=kept)
