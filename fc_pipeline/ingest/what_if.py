"""What a root would bring, before it is added: asked of the hub, and nothing is written."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from fc_pipeline.hub.failover import HubPool
from fc_pipeline.ingest.backfill_estimate import estimate
from fc_pipeline.ingest.backfill_scope import LARGEST_FID, BackfillScope
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.targets import directory

__all__ = ["WhatIf", "what_if_added"]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Users who would become targets, and about how many records they have, from a sample of them."""

    users: int
    already_targets: int
    messages: int
    requests: int
    sampled_users: int


class _LinkBody(msgspec.Struct):
    targetFid: int


class _LinkData(msgspec.Struct):
    timestamp: int
    linkBody: _LinkBody


class _Link(msgspec.Struct):
    data: _LinkData


def what_if_added(replica: Replica, fids: Collection[int], *, follows: bool, most_followed: int | None) -> WhatIf:
    """The users themselves and, if `follows`, whom they follow, less those who are targets. Raises HubError."""
    wanted = set(fids)
    if follows:
        for followed in asyncio.run(_followed(replica, fids)):
            wanted.update(followed[:most_followed])
    with replica.engine.connect() as connection:
        targets = set(directory.target_fids(connection))
    new = wanted - targets
    if not new:
        return WhatIf(0, len(wanted), 0, 0, 0)
    scope = BackfillScope.of_fids(new)
    found = estimate(replica, BackfillScope(scope.buckets, scope.fids, scope.label, whoever=True))
    return WhatIf(len(new), len(wanted) - len(new), found.rows, found.requests, found.sampled_fids)


async def _followed(replica: Replica, fids: Collection[int]) -> list[list[int]]:
    """Per user whom it follows, the longest followed first."""
    found: list[list[int]] = []
    async with HubPool(replica.hub_endpoints) as hubs:
        hub = await hubs.follow(None)
        for fid in sorted(fids):
            links: list[tuple[int, int]] = []
            async for page in hub.links_by_fid(fid, link_type="follow"):
                for record in page:
                    data = msgspec.json.decode(record, type=_Link).data
                    links.append((data.timestamp, data.linkBody.targetFid))
            found.append([target for _, target in sorted(links) if 0 < target <= LARGEST_FID])
    return found
