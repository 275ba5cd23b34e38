"""What adding a root would bring: read from the hub, without writing anything."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from fc_pipeline.backfill.estimate import estimate
from fc_pipeline.backfill.scope import MAX_FID, BackfillScope
from fc_pipeline.hub.broken_page import DECODE_ERRORS
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.replica import Replica
from fc_pipeline.targets import directory

__all__ = ["WhatIf", "targets_of", "what_if_added"]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Users who would become targets, and about how many records they have, from a sample of them.

    `unreadable_links` are follows whose target cannot be read.
    """

    users: int
    already_targets: int
    messages: int
    requests: int
    sampled_users: int
    unreadable_links: int = 0


class _LinkBody(msgspec.Struct):
    targetFid: int


class _LinkData(msgspec.Struct):
    timestamp: int
    linkBody: _LinkBody


class _Link(msgspec.Struct):
    data: _LinkData


def what_if_added(replica: Replica, fids: Collection[int], *, follows: bool, most_followed: int | None) -> WhatIf:
    """The users and, if `follows`, the users they follow, without those who are targets already. Raises HubError."""
    wanted = set(fids)
    unreadable_links = 0
    if follows:
        for followed, unreadable in asyncio.run(_followed(replica, fids)):
            wanted.update(followed[:most_followed])
            unreadable_links += unreadable
    with replica.engine.connect() as connection:
        targets = set(directory.target_fids(connection))
    new = wanted - targets
    if not new:
        return WhatIf(0, len(wanted), 0, 0, 0, unreadable_links)
    scope = BackfillScope.of_fids(new)
    found = estimate(replica, BackfillScope(scope.buckets, scope.fids, scope.label, include_non_targets=True))
    return WhatIf(len(new), len(wanted) - len(new), found.rows, found.requests, found.sampled_fids, unreadable_links)


async def _followed(replica: Replica, fids: Collection[int]) -> list[tuple[list[int], int]]:
    """Per user the users it follows, the longest followed first, and how many of its links cannot be read."""
    found: list[tuple[list[int], int]] = []
    async with HubPool(replica.hub_endpoints) as hubs:
        hub = await hubs.follow(None)
        for fid in sorted(fids):
            records = [record async for page in hub.links_by_fid(fid, link_type="follow") for record in page]
            found.append(targets_of(records))
    return found


def targets_of(records: Iterable[bytes]) -> tuple[list[int], int]:
    """Of LINK_ADD messages as JSON: the linked users, the oldest link first, and how many messages are malformed."""
    links: list[tuple[int, int]] = []
    unreadable = 0
    for record in records:
        try:
            data = msgspec.json.decode(record, type=_Link).data
        except DECODE_ERRORS:
            unreadable += 1
        else:
            links.append((data.timestamp, data.linkBody.targetFid))
    return [target for _, target in sorted(links) if 0 < target <= MAX_FID], unreadable
