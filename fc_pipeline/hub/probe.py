"""A hub pool for short reads, as by `status`, checks and sensors: a hub that hangs is not waited for."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from fc_pipeline.errors import HubUnavailable
from fc_pipeline.hub.client import Timeouts
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.failover import HubPool

__all__ = ["PROBE_SECONDS", "probe_pool"]

PROBE_SECONDS: Final = 5.0
"""The time limit for such a read, over all hubs together."""
SILENCE_SECONDS: Final = 3.6
MAX_LAG_WAIT_SECONDS: Final = 2.0


@asynccontextmanager
async def probe_pool(endpoints: Sequence[HubEndpoint], *, seconds: float = PROBE_SECONDS) -> AsyncGenerator[HubPool]:
    """A pool that has failed on hubs which do not answer before `PROBE_SECONDS` are over.

    `seconds` bounds all that is done within the block, however fast the hubs answer. Raises HubUnavailable then.
    """
    # Each hub is asked once, and the last one twice.
    timeout_seconds = SILENCE_SECONDS / (len(endpoints) + 1)
    timeouts = Timeouts(timeout_seconds, timeout_seconds, max_seconds=timeout_seconds)
    try:
        async with (
            asyncio.timeout(seconds),
            HubPool(endpoints, retries=1, timeouts=timeouts, max_lag_wait_seconds=MAX_LAG_WAIT_SECONDS) as hubs,
        ):
            yield hubs
    except TimeoutError as error:
        names = ", ".join(endpoint.name for endpoint in endpoints)
        raise HubUnavailable(
            f"hub {names} did not tell all that was asked within {seconds:.0f} s", hint="is it overloaded, or far away?"
        ) from error
