"""What a snapshot of an FID is: pages of raw records, each of one kind, as of which events (hub-api 6, 7)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fc_pipeline.hub.reads import MAX_NODE_LAG_HEIGHTS, HubReads
from fc_pipeline.hub.wire import HubInfo, first_event_id

__all__ = [
    "CONTRACTS_FID",
    "KEYS_READ",
    "NAMES_ASKED",
    "NO_RECORDS",
    "SnapshotPage",
    "ids_after",
    "ids_before",
    "shard_of",
]

NO_RECORDS: Final = "none"
"""The kind of a page for an FID of which the hub has nothing."""

NAMES_ASKED: Final = "names_asked"
"""The kind of names that a snapshot asked for by name: only of these is it certain that the FID does not hold them."""

KEYS_READ: Final = "keys_read"
"""The kind of what says that the FID's gasless keys were listed, all of them: a hub may have no such endpoint."""

CONTRACTS_FID: Final = 0
"""The FID of contract events that are of no user: SIGNER_MIGRATED, and channels without an owner (hub-api 4.3)."""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """One page of records, each as the hub sent it; `kind` is the table that they belong to."""

    kind: str
    records: list[bytes]


def shard_of(fid: int, shard_count: int) -> int:
    """The shard that holds an FID's messages (hub-api 7.7)."""
    digest = hashlib.sha256((fid & 0xFFFFFFFF).to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") % shard_count + 1


async def ids_before(hub: HubReads) -> Mapping[int, int]:
    """Per data shard an event id such that answers asked for from now on hold every event up to it."""
    return _head_ids(await hub.info(), -_spread(hub))


async def ids_after(hub: HubReads) -> Mapping[int, int]:
    """Per data shard an event id such that answers that came until now hold no event beyond it."""
    return _head_ids(await hub.info(), _spread(hub))


def _head_ids(info: HubInfo, heights: int) -> Mapping[int, int]:
    """The highest event id that a block so many heights above the shard's head can have."""
    return {
        shard.shardId: first_event_id(max(0, shard.maxHeight + heights) + 1) - 1
        for shard in info.shardInfos
        if shard.shardId != 0
    }


def _spread(hub: HubReads) -> int:
    """The node that answers may not be the one that reported its head."""
    return MAX_NODE_LAG_HEIGHTS if hub.client.may_be_several else 0
