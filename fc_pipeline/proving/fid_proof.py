"""One FID's leaves against its node in each shard's trie, as a hub tells it over gRPC: no header is asked for."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fc_pipeline.errors import ConfigError
from fc_pipeline.hub.grpc_nodes import GrpcNodes
from fc_pipeline.live_set.state import LiveSetView, ShardState
from fc_pipeline.proof.descent import Difference, ToldNode, differing_types
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix
from fc_pipeline.proof.trie import FID_DEPTH, Node, Nodes
from fc_pipeline.proving.replica_proof import shards_to_prove
from fc_pipeline.proving.root import UNTOLD_TYPES
from fc_pipeline.proving.shard_proof import described
from fc_pipeline.replica import Replica, grpc_endpoints

__all__ = ["FidOnShard", "compare_fid", "prove_fid"]

_LOOKS: Final = 3
_LOOK_SECONDS: Final = 0.5
"""A hub tells of its trie as of now, and a following replica is a block or two behind: it is looked at again."""


@dataclass(frozen=True, slots=True)
class FidOnShard:
    """An FID's node on a shard: ours as of `height`, the hub's as of now; None where there is no leaf.

    `types` are those in which they differ.
    """

    shard: int
    height: int
    ours: Node | None
    theirs: Node | None
    types: tuple[Difference, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether the leaves are the same."""
        return self.ours == self.theirs

    @property
    def is_proved(self) -> bool:
        """Whether they are the same but for types that no feed tells of."""
        return self.is_equal or (bool(self.types) and not self.differing)

    def found(self) -> str:
        """In words: how many leaves, and which types differ."""
        count = self.ours.leaf_count if self.ours is not None else 0
        if self.is_equal:
            return f"{count:,} leaves, as the hub says"
        said = "; ".join(map(described, self.types)) or "the hub has changed meanwhile"
        beside = ", of which no feed tells" if self.is_proved else ""
        return f"{count:,} leaves here, {self.theirs.leaf_count if self.theirs else 0:,} at the hub: {said}{beside}"

    @property
    def differing(self) -> tuple[Difference, ...]:
        """The types that differ although the feed tells of them."""
        return tuple(one for one in self.types if one.prefix[FID_PREFIX_BYTES] not in UNTOLD_TYPES)


def prove_fid(replica: Replica, fid: int, *, only_shard: int | None = None) -> list[FidOnShard]:
    """What is found at the first of several looks at which all is equal, or else at the last. Writes nothing.

    Raises ConfigError where no hub is to be asked over gRPC, nothing is folded yet or there is no such shard; HubError,
    PostgresError.
    """
    shard_count = shards_to_prove(replica, only_shard)
    found: list[FidOnShard] = []
    with LiveSetView(replica.settings.libpq_url(), "prove", shard_count) as view:
        for look in range(_LOOKS):
            if look:
                time.sleep(_LOOK_SECONDS)
            with view.one_moment() as states:
                asked = [state for state in states if only_shard in (None, state.shard)]
                found = asyncio.run(_compare(replica, asked, fid))
            if all(one.is_proved for one in found):
                break
    return found


async def _compare(replica: Replica, states: Sequence[ShardState], fid: int) -> list[FidOnShard]:
    async with GrpcNodes(grpc_endpoints(replica.settings)) as nodes:
        node = await nodes.usable()
        if node is None:
            raise ConfigError("no hub is to be asked over gRPC", hint="set FC_HUB_GRPC")
        return [await compare_fid(state, node, fid) for state in states]


class _LiveLeaves(Protocol):
    """A shard's state, as far as one FID is compared."""

    @property
    def shard(self) -> int: ...
    @property
    def height(self) -> int: ...
    def leaves(self, fid_prefix: bytes) -> Nodes: ...


class _Trie(Protocol):
    """A node, as far as one FID is compared."""

    async def trie_node(self, shard: int, prefix: bytes) -> ToldNode | None: ...


async def compare_fid(state: _LiveLeaves, node: _Trie, fid: int) -> FidOnShard:
    """An FID's leaves at an open moment against the node's. Raises HubError, PostgresError."""
    prefix = fid_prefix(fid)
    leaves = state.leaves(prefix)
    ours = next((one for _, one in leaves.at(FID_DEPTH).listed()), None)

    async def ask(at: bytes) -> ToldNode | None:
        return await node.trie_node(state.shard, at)

    told = await ask(prefix)
    theirs = told.node if told is not None else None
    types = await differing_types(leaves, prefix, ask) if ours != theirs else []
    return FidOnShard(state.shard, state.height, ours, theirs, tuple(types))
