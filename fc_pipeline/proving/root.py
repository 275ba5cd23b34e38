"""Proofs of a shard's root: ours against the header's `shard_root`, and the header against the validators (issue 18).

Some leaves follow from no feed: KEY_ADD and KEY_REMOVE, and an fname renewed for the same FID (node-db 3.3, 3.6). Where
only such subtrees differ, their hashes are taken from the node: that they make the signed root proves them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fc_pipeline.proof.descent import Descent, Difference, OurSide, ToldNode, descend
from fc_pipeline.proof.headers import Consensus, Header, consensus_of
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, FNAME_TYPE, MESSAGE_TYPE_SHIFT, MESSAGE_TYPES
from fc_pipeline.proof.trie import FID_DEPTH, TYPE_DEPTH, VIRTUAL_SHARD_DEPTH, Node, Nodes
from fc_pipeline.proving.sides import LiveShard, ProvingNode

__all__ = ["MAX_REQUESTS", "UNLISTED_TYPES", "UNTOLD_TYPES", "RootProof", "prove_root"]

MAX_REQUESTS: Final = 10_000
"""So many nodes of a trie are asked for at most: some hundred FIDs that differ among millions."""

UNTOLD_TYPES: Final = frozenset(
    {FNAME_TYPE, *(MESSAGE_TYPES[name] << MESSAGE_TYPE_SHIFT for name in ("KEY_ADD", "KEY_REMOVE"))}
)
"""Type bytes of leaves that follow from no feed."""
UNLISTED_TYPES: Final = frozenset(
    MESSAGE_TYPES[name] << MESSAGE_TYPE_SHIFT
    for name in ("USERNAME_PROOF", "CHANNEL_UPDATE", "CHANNEL_MEMBER", "CHANNEL_PIN", "CHANNEL_MODERATE")
)
"""Type bytes of leaves that no list by FID tells of: those from before the feed that was read are not known either."""


@dataclass(frozen=True, slots=True)
class RootProof:
    """How our root stands to the header's at our height.

    `ours` is the root with the subtrees that were `taken` from the node, each by FID and type. `differing` are the FIDs
    and types in which we differ otherwise, some of them maybe only from what the node has become since; there may be
    more where the search is not whole. `header` and `consensus` are None where the node keeps no such block, and
    where no validators are known. `requests` are the trie's nodes asked for.
    """

    shard: int
    height: int
    ours: Node
    header: Header | None = None
    consensus: Consensus | None = None
    taken: tuple[Difference, ...] = ()
    differing: tuple[Difference, ...] = ()
    requests: int = 0
    is_whole_search: bool = True

    @property
    def is_proved(self) -> bool:
        """Whether our root is the header's."""
        return self.header is not None and self.header.shard_root == self.ours.hash

    @property
    def is_signed(self) -> bool:
        """Whether more than two thirds of the validators signed the header."""
        return self.consensus is not None and self.consensus.is_proved


async def prove_root(
    ours: LiveShard,
    node: ProvingNode,
    validators: Collection[bytes] = (),
    *,
    untold: Collection[int] = UNTOLD_TYPES,
    max_requests: int = MAX_REQUESTS,
) -> RootProof:
    """Compare our root with the header's, and find where we differ if it is another. Raises HubError.

    Subtrees of the `untold` types are taken from the node where they alone differ.

    A node answers about its trie as of now, and about headers of any height: what it is ahead of us differs as well.
    """
    root = ours.virtual_shards.root
    block = await node.block(ours.shard, ours.height)
    if block is None:
        return RootProof(ours.shard, ours.height, root)
    consensus = consensus_of(block, validators) if validators else None
    if block.header.shard_root == root.hash:
        return RootProof(ours.shard, ours.height, root, block.header, consensus)
    found = await _descend(ours, node, max_requests)
    taken = _untold(found, untold)
    root = _root_with(ours, taken)
    # What differs beside that has changed at the node since our height.
    others = () if root.hash == block.header.shard_root else (*found.fids, *found.types)
    differing = tuple(one for one in others if one not in taken and not _explains(taken, one))
    return RootProof(
        ours.shard,
        ours.height,
        root,
        block.header,
        consensus,
        taken,
        differing,
        found.requests,
        found.is_whole,
    )


async def _descend(ours: LiveShard, node: ProvingNode, max_requests: int) -> Descent:
    async def ask(prefix: bytes) -> ToldNode | None:
        return await node.trie_node(ours.shard, prefix)

    return await descend(OurSide(ours), ask, max_requests=max_requests)


def _untold(found: Descent, untold: Collection[int]) -> tuple[Difference, ...]:
    """The differing types that nothing which was read tells of, of FIDs that differ in no other."""
    by_fid: dict[bytes, list[Difference]] = {}
    for one in found.types:
        by_fid.setdefault(one.prefix[:FID_PREFIX_BYTES], []).append(one)
    return tuple(
        one
        for types in by_fid.values()
        if all(each.prefix[FID_PREFIX_BYTES] in untold for each in types)
        for one in types
    )


def _explains(taken: Iterable[Difference], fid: Difference) -> bool:
    """Whether an FID differs in what was taken from the node."""
    return any(one.prefix[:FID_PREFIX_BYTES] == fid.prefix for one in taken)


def _root_with(ours: LiveShard, taken: Iterable[Difference]) -> Node:
    """Our root with these subtrees in the place of ours."""
    of_fids: dict[bytes, dict[bytes, Node | None]] = {}
    for one in taken:
        of_fids.setdefault(one.prefix[:FID_PREFIX_BYTES], {})[one.prefix] = one.theirs
    of_shards: dict[bytes, dict[bytes, Node | None]] = {}
    for prefix, types in of_fids.items():
        leaves = ours.leaves(prefix)
        replaced = leaves.at(TYPE_DEPTH).replaced(types)
        of_shards.setdefault(prefix[:1], {})[prefix] = _only(replaced.at(FID_DEPTH))
    shards: Mapping[bytes, Node | None] = {
        prefix: _only(ours.fids(prefix[0]).replaced(fids).at(VIRTUAL_SHARD_DEPTH)) for prefix, fids in of_shards.items()
    }
    return ours.virtual_shards.replaced(shards).root


def _only(nodes: Nodes) -> Node | None:
    """The one node that there is, if there is any."""
    return next((node for _, node in nodes.listed()), None)
