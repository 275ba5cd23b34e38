"""What a snapshot of an FID is: pages of raw records, each of one kind, as of which events (hub-api 6, 7)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from fc_pipeline.hub.reads import MAX_NODE_LAG_HEIGHTS
from fc_pipeline.hub.wire import HubInfo, first_event_id

__all__ = [
    "ALL_KNOWN",
    "CONTRACTS_FID",
    "KEYS_READ",
    "LEAVES",
    "LEAVES_READ",
    "LEAVES_TOLD",
    "NAMES_ASKED",
    "NO_RECORDS",
    "STATEMENTS",
    "SnapshotPage",
    "ToldLeaves",
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

LEAVES: Final = "leaves"
"""The kind of messages that a node lists over gRPC and that are no rows: removes, compact states, lends."""

LEAVES_TOLD: Final = "leaves_told"
"""The kind of what a shard's trie proves: of the FID and a type, these leaves and no others (ToldLeaves in JSON)."""

LEAVES_READ: Final = "leaves_read"
"""The kind of what says that all of these messages were listed; ALL_KNOWN: and that the tries were explained, too."""

ALL_KNOWN: Final = b"all known"

STATEMENTS: Final = frozenset({NAMES_ASKED, KEYS_READ, LEAVES_TOLD, LEAVES_READ})
"""Kinds of what is no record of the FID, but says something of those that are there."""

CONTRACTS_FID: Final = 0
"""The FID of contract events that are of no user: SIGNER_MIGRATED, and channels without an owner (hub-api 4.3)."""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """One page of records, each as the hub sent it; `kind` is the table that they belong to."""

    kind: str
    records: list[bytes]


class ToldLeaves(msgspec.Struct):
    """All leaves of the FID on a shard that begin with this type byte; the bytes are in Base64."""

    shard: int
    type_byte: int
    leaves: list[bytes]


def shard_of(fid: int, shard_count: int) -> int:
    """The shard that holds an FID's messages (hub-api 7.7)."""
    digest = hashlib.sha256((fid & 0xFFFFFFFF).to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") % shard_count + 1


class HeadsSource(Protocol):
    """Who answers for a snapshot; `may_be_several` where more nodes than one may do so, each at a height of its own."""

    @property
    def may_be_several(self) -> bool:
        """See above."""
        ...

    async def info(self) -> HubInfo:
        """The shards' heads. Raises HubError."""
        ...


async def ids_before(*sources: HeadsSource) -> Mapping[int, int]:
    """Per data shard an event id such that answers asked for from now on hold every event up to it."""
    heads = [_head_ids(await one.info(), -_spread(one)) for one in sources]
    return {shard: min(one[shard] for one in heads if shard in one) for shard in heads[0]}


async def ids_after(*sources: HeadsSource) -> Mapping[int, int]:
    """Per data shard an event id such that answers that came until now hold no event beyond it."""
    heads = [_head_ids(await one.info(), _spread(one)) for one in sources]
    return {shard: max(one[shard] for one in heads if shard in one) for shard in heads[0]}


def _head_ids(info: HubInfo, heights: int) -> Mapping[int, int]:
    """The highest event id that a block so many heights above the shard's head can have."""
    return {
        shard.shardId: first_event_id(max(0, shard.maxHeight + heights) + 1) - 1
        for shard in info.shardInfos
        if shard.shardId != 0
    }


def _spread(source: HeadsSource) -> int:
    """The node that answers may not be the one that reported its head."""
    return MAX_NODE_LAG_HEIGHTS if source.may_be_several else 0
