"""The leaves of one FID that are no rows of tables, as a node tells them over gRPC (node-db 3.3, 3.5, 3.6).

Removes, compact states and lends are listed as messages. Of fnames, and of verifications on shards that are not the
FID's home, no list says which shard has a leaf: the hash of the subtree in that shard's trie does.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from fc_pipeline.hub.snapshot import ALL_KNOWN, LEAVES, LEAVES_READ, LEAVES_TOLD, SnapshotPage, ToldLeaves, shard_of
from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.leaf_keys import (
    FNAME_BYTES,
    FNAME_TYPE,
    MESSAGE_TYPE_SHIFT,
    MESSAGE_TYPES,
    fid_prefix,
    fname_leaf,
    message_leaf,
)
from fc_pipeline.proof.told_leaves import explained

__all__ = ["LEAF_REQUESTS", "FidLeaves", "LeafSource"]

LEAF_REQUESTS: Final = 8
"""About so many take the leaves of an FID, of a network of two shards: five lists, and nodes of tries."""

_PAGE: Final = 1_000
_VERIFICATION_ADD: Final = "VERIFICATION_ADD_ETH_ADDRESS"
_VERIFICATION_REMOVE: Final = "VERIFICATION_REMOVE"
_KINDS: Final = frozenset(
    {
        "REACTION_REMOVE",
        "LINK_REMOVE",
        "LINK_COMPACT_STATE",
        _VERIFICATION_ADD,
        _VERIFICATION_REMOVE,
        "LEND_STORAGE",
    }
)
_VERIFICATIONS: Final = {
    MESSAGE_TYPES[kind] << MESSAGE_TYPE_SHIFT: kind for kind in (_VERIFICATION_ADD, _VERIFICATION_REMOVE)
}


class LeafSource(Protocol):
    """A node's gRPC API, as far as leaves of an FID are asked of it."""

    def messages_by_fid(self, fid: int, lists: Collection[str], kinds: Collection[str] | None) -> AsyncIterator[bytes]:
        """The live messages of an FID, as JSON. Raises HubError."""
        ...

    async def trie_node(self, shard: int, prefix: bytes) -> ToldNode | None:
        """The node of a shard's trie at a prefix of whole bytes. Raises HubError."""
        ...


class _Data(msgspec.Struct):
    type: str


class _Said(msgspec.Struct):
    data: _Data
    hash: str


_SAID: Final = msgspec.json.Decoder(_Said)


@dataclass
class FidLeaves:
    """Asks a node about one FID, of a network with these shards.

    `requests` are those of tries and of lists' first pages.
    """

    node: LeafSource
    fid: int
    shards: Sequence[int]
    requests: int = field(default=0, init=False)

    async def pages(self, lists: Sequence[str], names: Collection[str]) -> AsyncIterator[SnapshotPage]:
        """What is in these lists; and which of the FID's `names` is a leaf on which shard. Raises HubError."""
        listed: list[bytes] = []
        candidates: dict[int, list[bytes]] = {type_byte: [] for type_byte in _VERIFICATIONS}
        self.requests += len(lists)
        async for raw in self.node.messages_by_fid(self.fid, lists, _KINDS):
            said = _SAID.decode(raw)
            kind = said.data.type.removeprefix("MESSAGE_TYPE_")
            if kind in _VERIFICATIONS.values():
                leaf = message_leaf(MESSAGE_TYPES[kind], bytes.fromhex(said.hash.removeprefix("0x")))
                candidates[leaf[0]].append(leaf)
            if kind != _VERIFICATION_ADD:  # which is a row at home
                listed.append(raw)
            if len(listed) == _PAGE:
                yield SnapshotPage(LEAVES, listed)
                listed = []
        if listed:
            yield SnapshotPage(LEAVES, listed)
        candidates[FNAME_TYPE] = [fname_leaf(name) for name in names if 0 < len(name.encode()) <= FNAME_BYTES]
        told = [one async for one in self._told(candidates)]
        known = [one for one in told if one is not None]
        yield SnapshotPage(LEAVES_TOLD, [msgspec.json.encode(one) for one in known])
        yield SnapshotPage(LEAVES_READ, [ALL_KNOWN if len(known) == len(told) else b""])

    async def _told(self, candidates: Mapping[int, Collection[bytes]]) -> AsyncIterator[ToldLeaves | None]:
        """Per shard and type its leaves; None where the shard has others than the candidates."""
        for shard in self.shards:
            if shard == shard_of(self.fid, len(self.shards)):
                yield await self._of_type(shard, FNAME_TYPE, candidates[FNAME_TYPE])
                continue
            fid = await self._ask(shard, b"")
            for type_byte, some in candidates.items():
                if fid is None or (type_byte >> 4) not in fid.children:
                    yield ToldLeaves(shard, type_byte, [])
                else:
                    yield await self._of_type(shard, type_byte, some)

    async def _of_type(self, shard: int, type_byte: int, candidates: Collection[bytes]) -> ToldLeaves | None:
        told = await self._ask(shard, bytes((type_byte,)))
        leaves = explained(fid_prefix(self.fid) + bytes((type_byte,)), told, candidates)
        return None if leaves is None else ToldLeaves(shard, type_byte, leaves)

    async def _ask(self, shard: int, type_byte: bytes) -> ToldNode | None:
        self.requests += 1
        return await self.node.trie_node(shard, fid_prefix(self.fid) + type_byte)
