"""Which of the configured hubs answer at this moment."""

import asyncio
from collections.abc import Sequence

from fc_pipeline.errors import HubError
from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.reads import HubReads

__all__ = ["unreachable_hubs"]


async def unreachable_hubs(endpoints: Sequence[HubEndpoint], timeout_seconds: float) -> dict[str, str]:
    """The names of the hubs whose `/v1/info` cannot be read within the time-out, each with the reason.

    All are asked at once.
    """
    reasons = await asyncio.gather(*(_unreachable_reason(endpoint, timeout_seconds) for endpoint in endpoints))
    return {endpoint.name: reason for endpoint, reason in zip(endpoints, reasons, strict=True) if reason is not None}


async def _unreachable_reason(endpoint: HubEndpoint, timeout_seconds: float) -> str | None:
    client = HubClient(endpoint, retries=0)
    try:
        async with asyncio.timeout(timeout_seconds):
            await HubReads(client).info()
    except TimeoutError:
        return f"no answer within {timeout_seconds:g} s"
    except HubError as error:
        return error.message
    finally:
        await client.close()
    return None
