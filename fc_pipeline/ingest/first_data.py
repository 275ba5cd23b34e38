"""Since when there are data: by FC_START, the raw log, and where the replica of each shard begins."""

import asyncio
import logging

from fc_pipeline.errors import HubError
from fc_pipeline.fold import ledger
from fc_pipeline.hours import Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.store import partition_start

__all__ = ["place_partition_start", "place_partition_start_by_hub"]

_log = logging.getLogger(__name__)

HUB_SECONDS = 10.0
"""A start does not wait longer for a hub: the sensor will ask it."""


def place_partition_start(replica: Replica, *, by_log: bool = False) -> Hour | None:
    """Move the start of partitions back to the first data that are known; gives it, or None while nothing is known.

    With `by_log`, the raw log's folders are listed for it, of which somebody may have brought earlier ones.
    """
    with replica.engine.connect() as connection:
        hours = [Hour.of(origin.at.timestamp()) for origin in ledger.origins(connection).values()]
        stored = partition_start.stored_start(connection)
    if replica.settings.start is not None:
        hours = [Hour.of(replica.settings.start.timestamp())]
    if by_log or (stored is None and hours):
        hours += replica.log.hours()[:1]
    return partition_start.move_back(replica.engine, min(hours)) if hours else stored


def place_partition_start_by_hub(replica: Replica) -> Hour | None:
    """The same; at the first contact, the hub is asked where its feed begins, if it answers soon."""
    known = place_partition_start(replica, by_log=True)
    if known is not None:
        return known
    try:
        asyncio.run(_first_contact(replica))
    except (HubError, TimeoutError) as error:
        _log.info("partition_start_unknown reason=%r", str(error))
    return place_partition_start(replica)


async def _first_contact(replica: Replica) -> None:
    from fc_pipeline.ingest.survey import survey  # which places the start itself

    async with asyncio.timeout(HUB_SECONDS), HubPool(replica.hub_endpoints, retries=1) as hubs:
        await survey(replica, hubs)
