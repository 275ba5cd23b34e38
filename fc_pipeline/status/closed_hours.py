"""Which hours are closed: over, and whole in every shard, so that what is made of them does not change by itself."""

from collections.abc import Collection

import sqlalchemy as sa

from fc_pipeline.hours import Hour
from fc_pipeline.replica import Replica
from fc_pipeline.status.by_hour import find_holes
from fc_pipeline.store import gaps, ledger
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["complete_hours"]

_BOUNDS = sa.text("""
    SELECT s.shard, s.origin_at, (SELECT max(partition) FROM pipeline.coverage AS c WHERE c.shard = s.shard) AS newest
    FROM pipeline.shards AS s
""")
_BEING_WRITTEN = sa.text(
    "SELECT partition FROM pipeline.leases WHERE EXISTS (SELECT FROM pg_stat_activity WHERE pid = backend_pid)"
)


def complete_hours(replica: Replica, *, known: Collection[str] = ()) -> set[Hour]:
    """The hours of which every shard has all blocks, in all tables, and that no run is writing to.

    Those with keys in `known` are left out: of a year nearly all were reported before. The ledger alone is the proof:
    an hour ends where the shard's next block is of a later one. Of the hour in which the replica begins it has what
    follows on that.
    """
    found = find_holes(replica)
    with replica.engine.connect() as connection:
        bounds = connection.execute(_BOUNDS).all()
        hours = set(map(Hour.from_key, ledger.covered_partitions(connection).difference(known)))
        unfinished = {
            *ledger.unfinished_partitions(connection, list(DATA_TABLES)),
            *connection.scalars(_BEING_WRITTEN),
            *(
                key
                for gap in gaps.all_gaps(connection, only_open=True)
                for key in ledger.partitions_of(connection, gap.shard, gap.heights)
            ),
        }
    if not bounds or any(bound.newest is None for bound in bounds):
        return set()
    first = max(Hour.of(bound.origin_at.timestamp()) for bound in bounds)
    end = min(Hour.from_key(bound.newest) for bound in bounds)
    spans = [(Hour.from_key(hole.first_hour), Hour.from_key(hole.last_hour)) for hole in found.holes]
    return {hour for hour in hours if first <= hour < end and hour.key not in unfinished and not _within(hour, spans)}


def _within(hour: Hour, spans: Collection[tuple[Hour, Hour]]) -> bool:
    return any(first <= hour <= last for first, last in spans)
