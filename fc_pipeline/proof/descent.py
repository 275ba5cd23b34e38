"""Where two tries differ: from the root down, asking the other side for as few nodes as can be.

The other side, a node's gRPC API, tells of a prefix of whole bytes its hash and its children by nibble, one level deep
(node-db 3.5). Of sixteen nodes below a differing child only so many are asked for until what was told explains the
child's own hash; where ours has but one way down, the nodes on it are passed over.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from blake3 import blake3

from fc_pipeline.proof.trie import FID_DEPTH, HASH_BYTES, TYPE_DEPTH, VIRTUAL_SHARD_DEPTH, Node, Nodes

__all__ = ["Ask", "Descent", "Difference", "HeldTrie", "OurSide", "OurTrie", "ToldNode", "descend", "differing_types"]

NIBBLES: Final = range(16)
_TYPES_OF_FID: Final = 512
"""More than there are: each is asked for once."""


@dataclass(frozen=True, slots=True)
class ToldNode:
    """What the other side tells of a prefix: the node there, and its children by nibble."""

    node: Node
    children: Mapping[int, Node]


Ask = Callable[[bytes], Awaitable[ToldNode | None]]
"""The other side's node at a prefix of whole bytes; None where it has nothing below it."""


class OurTrie(Protocol):
    """Our side, read as far as it is gone into."""

    async def shards(self) -> Nodes:
        """The virtual shards (depth 2)."""
        ...

    async def fids(self, virtual_shard: int) -> Nodes:
        """The FIDs (depth 10) of a virtual shard."""
        ...

    async def leaves(self, fid_prefix: bytes) -> Nodes:
        """The leaves of an FID."""
        ...


class HeldTrie(Protocol):
    """A trie of ours that is read at once."""

    @property
    def virtual_shards(self) -> Nodes:
        """The nodes of depth 2."""
        ...

    def fids(self, virtual_shard: int) -> Nodes:
        """The FIDs (depth 10) of a virtual shard."""
        ...

    def leaves(self, fid_prefix: bytes) -> Nodes:
        """The leaves of an FID."""
        ...


@dataclass(frozen=True, slots=True)
class OurSide:
    """Such a trie as a descent reads it."""

    held: HeldTrie

    async def shards(self) -> Nodes:
        """The virtual shards (depth 2)."""
        return self.held.virtual_shards

    async def fids(self, virtual_shard: int) -> Nodes:
        """The FIDs (depth 10) of a virtual shard."""
        return self.held.fids(virtual_shard)

    async def leaves(self, fid_prefix: bytes) -> Nodes:
        """The leaves of an FID."""
        return self.held.leaves(fid_prefix)


@dataclass(frozen=True, slots=True)
class Difference:
    """A node that differs, by its prefix of whole bytes: 5 of an FID, 6 with a type; None where a side has nothing."""

    prefix: bytes
    ours: Node | None
    theirs: Node | None


@dataclass(frozen=True, slots=True)
class Descent:
    """The FIDs that differ and, of those that both sides have, the types; `requests` are the nodes asked for.

    `is_whole` is False where `max_requests` did not suffice: then there may be more.
    """

    fids: list[Difference]
    types: list[Difference]
    requests: int
    is_whole: bool


class _Enough(Exception):
    """As many nodes as allowed were asked for."""


@dataclass(slots=True)
class _Asker:
    """Asks for each prefix once."""

    ask: Ask
    max_requests: int
    told: dict[bytes, ToldNode | None] = field(default_factory=dict[bytes, ToldNode | None])

    async def node(self, path: bytes) -> ToldNode | None:
        if path not in self.told:
            if len(self.told) >= self.max_requests:
                raise _Enough
            self.told[path] = await self.ask(_prefix(path))
        return self.told[path]


async def descend(ours: OurTrie, ask: Ask, *, max_requests: int = 10_000, goes_into_fids: bool = True) -> Descent:
    """Everything in which our trie differs from the other side's; the types only if it `goes_into_fids`.

    The other side may change meanwhile: what is found is then to be compared once more. Raises what `ask` raises.
    """
    asker = _Asker(ask, max_requests)
    fids: list[Difference] = []
    types: list[Difference] = []
    try:
        for shard in await _Search(asker, await ours.shards(), VIRTUAL_SHARD_DEPTH).below(b""):
            found = _Search(asker, await ours.fids(shard.prefix[0]), FID_DEPTH)
            fids += await found.below(_path(shard.prefix))
        for fid in fids:
            if goes_into_fids and fid.ours is not None and fid.theirs is not None:
                leaves = await ours.leaves(fid.prefix)
                types += await _Search(asker, leaves, TYPE_DEPTH).below(_path(fid.prefix))
    except _Enough:
        return Descent(fids, types, len(asker.told), is_whole=False)
    return Descent(fids, types, len(asker.told), is_whole=True)


async def differing_types(ours: Nodes, fid_prefix: bytes, ask: Ask) -> list[Difference]:
    """The types of an FID, of which `ours` are all our leaves, in which we differ. Raises what `ask` raises."""
    return await _Search(_Asker(ask, _TYPES_OF_FID), ours, TYPE_DEPTH).below(_path(fid_prefix))


@dataclass(slots=True)
class _Search:
    """The nodes at one depth, of which `ours` computes all above, that differ from those of the other side."""

    asker: _Asker
    ours: Nodes
    depth: int
    found: list[Difference] = field(default_factory=list[Difference])

    async def below(self, path: bytes) -> list[Difference]:
        """Those below a path of whole bytes."""
        told = await self.asker.node(path)
        if told is None:
            self._is_only_ours(path)
        elif told.node != self.ours.node(path):
            await self._open(path, told)
        return self.found

    async def _open(self, path: bytes, told: ToldNode) -> None:
        """Go into a node that differs."""
        if len(path) == self.depth:
            self.found.append(Difference(_prefix(path), self.ours.node(path), told.node))
            return
        ours = self.ours.children(path)
        for nibble in sorted(ours.keys() | told.children.keys()):
            target = told.children.get(nibble)
            if target is None:
                self._is_only_ours(path + bytes((nibble,)))
            elif target != ours.get(nibble):
                await self._explain(path + bytes((nibble,)), target)

    async def _explain(self, half: bytes, target: Node) -> None:
        """Ask for nodes below a path that ends within a byte, until they explain the node `target` there.

        First for those that we have, those with most leaves before, each as far down as all of ours below it agree. If
        these do not explain it, the other side has some where we have none: then for all that were passed over.
        """
        assumed = self.ours.children(half)
        differing: dict[int, tuple[bytes, ToldNode | None]] = {}
        for nibble in sorted(assumed, key=lambda nibble: -assumed[nibble].leaf_count):
            await self._try(half, nibble, self._meeting(half + bytes((nibble,))), assumed, differing)
            if _joined(assumed) == target.hash:
                break
        else:
            ours = self.ours.children(half)
            for nibble in sorted(NIBBLES, key=lambda nibble: nibble in ours):
                await self._try(half, nibble, half + bytes((nibble,)), assumed, differing)
                if _joined(assumed) == target.hash:
                    break
        for path, told in differing.values():
            if told is None:
                self._is_only_ours(path)
            else:
                await self._open(path, told)

    async def _try(
        self,
        half: bytes,
        nibble: int,
        path: bytes,
        assumed: dict[int, Node],
        differing: dict[int, tuple[bytes, ToldNode | None]],
    ) -> None:
        """Ask for the node at `path`, on our way down from one nibble, and assume that it is the only one there."""
        told = await self.asker.node(path)
        assumed.pop(nibble, None)
        differing.pop(nibble, None)
        if told is not None:
            assumed[nibble] = _lifted(told.node, len(path) - len(half) - 1)
        if (told.node if told else None) != self.ours.node(path):
            differing[nibble] = path, told

    def _meeting(self, path: bytes) -> bytes:
        """The deepest node of whole bytes that all of ours below a path have above them."""
        keys = self.ours.below(path).keys
        first, last = (_path(key.ljust(self.depth // 2, b"\0"))[: self.depth] for key in (keys[0], keys[-1]))
        shared = next((at for at in range(self.depth) if first[at] != last[at]), self.depth)
        return first[: shared // 2 * 2]

    def _is_only_ours(self, path: bytes) -> None:
        only = self.ours.below(path).at(self.depth)
        for place in range(len(only)):
            node = Node(int(only.leaf_counts[place]), only.hashes[place].tobytes())
            self.found.append(Difference(only.keys[place].ljust(self.depth // 2, b"\0"), node, None))


def _joined(children: Mapping[int, Node]) -> bytes:
    """The hash of the node with these children."""
    return blake3(b"".join(children[nibble].hash for nibble in sorted(children))).digest(HASH_BYTES)


def _lifted(node: Node, levels: int) -> Node:
    """The node so many levels above, if this is the only one below it."""
    digest = node.hash
    for _ in range(levels):
        digest = blake3(digest).digest(HASH_BYTES)
    return Node(node.leaf_count, digest)


def _path(prefix: bytes) -> bytes:
    """Whole bytes as nibbles, one a byte."""
    return bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))


def _prefix(path: bytes) -> bytes:
    """Nibbles, one a byte, as whole bytes."""
    return bytes(high << 4 | low for high, low in zip(path[::2], path[1::2], strict=True))
