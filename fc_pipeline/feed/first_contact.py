"""The first contact with a hub: its feed's beginning becomes that of the partitions."""

import asyncio
import logging

from fc_pipeline.errors import HubError
from fc_pipeline.feed.first_data import place_partition_start
from fc_pipeline.feed.survey import survey
from fc_pipeline.hours import Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.replica import Replica

__all__ = ["place_partition_start_by_hub"]

_log = logging.getLogger(__name__)
HUB_SECONDS = 10.0
"""How long a start waits for a hub; later the sensor asks it."""


def place_partition_start_by_hub(replica: Replica) -> Hour | None:
    """Where partitions begin; at the first contact the hub is asked where its feed begins, if it answers in time."""
    known = place_partition_start(replica, by_log=True)
    if known is not None:
        return known
    try:
        asyncio.run(_first_contact(replica))
    except (HubError, TimeoutError) as error:
        _log.info("partition_start_unknown reason=%r", str(error))
    return place_partition_start(replica)


async def _first_contact(replica: Replica) -> None:
    async with asyncio.timeout(HUB_SECONDS), HubPool(replica.hub_endpoints, retries=1) as hubs:
        await survey(replica, hubs)
