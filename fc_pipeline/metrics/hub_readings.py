"""What the hubs say when they are asked for their heads, and what is shared about their budgets of requests."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from fc_pipeline.errors import HubError
from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics.families import Sample

__all__ = ["read_hubs"]

_PATIENCE_SECONDS: Final = 5.0


def read_hubs(endpoints: Sequence[HubEndpoint]) -> list[Sample]:
    """Ask each hub once, all at the same time, within its budget: one that does not answer is down."""
    return asyncio.run(_read(endpoints))


async def _read(endpoints: Sequence[HubEndpoint]) -> list[Sample]:
    found = await asyncio.gather(*map(_of_hub, endpoints))
    return [sample for samples in found for sample in samples]


async def _of_hub(endpoint: HubEndpoint) -> list[Sample]:
    client = HubClient(endpoint, retries=0)
    samples: list[Sample] = []
    if endpoint.requests_per_second is not None:
        samples.append(f.HUB_BUDGET.of(endpoint.requests_per_second, endpoint.name))
    started = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            info = await HubReads(client).info()
    except (TimeoutError, HubError):
        samples.append(f.HUB_UP.of(0, endpoint.name))
    else:
        samples += [f.HUB_UP.of(1, endpoint.name), f.HUB_ANSWER.of(time.perf_counter() - started, endpoint.name)]
        heads = {one.shardId: one.maxHeight for one in info.shardInfos}
        samples += [f.HUB_HEAD.of(height, endpoint.name, shard) for shard, height in heads.items()]
    finally:
        samples.append(f.HUB_PAUSED.of(client.budget.paused_seconds, endpoint.name))
        await client.close()
    return samples
