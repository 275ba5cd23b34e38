"""Which users' records are the hub's by the hashes of both tries, so that they need not be read.

Ours are made of the rows as they are now, the hub's are of its tries now: a user who has done something since the last
fold differs, and so does one of whom no feed tells all (KEY_ADD). Equal hashes say nothing of columns: a row whose hash
is right may have another text.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.live_set.leaves import ShardFid
from fc_pipeline.live_set.state import LiveSetView, ShardState
from fc_pipeline.proof.descent import OurSide, ToldNode, descend
from fc_pipeline.proof.leaf_keys import fid_prefix
from fc_pipeline.proof.trie import Node

__all__ = ["EqualHashes", "equal_hashes"]

_MAX_ONE_BY_ONE: Final = 10_000
"""More FIDs than these are looked for from the root down, by their digests."""
_CONCURRENT: Final = 16


@dataclass(frozen=True, slots=True)
class EqualHashes:
    """The FIDs that both sides know and whose leaves are the same on every shard, and how many nodes were asked for."""

    fids: frozenset[int]
    requests: int


async def equal_hashes(view: LiveSetView, node: GrpcNode, fids: Sequence[int]) -> EqualHashes:
    """Of these FIDs. Raises HubError, PostgresError."""
    with view.one_moment() as states:
        if len(fids) > _MAX_ONE_BY_ONE:
            return await _from_the_roots(states, node, fids)
        asked = [ShardFid(one.shard, fid) for one in states for fid in fids]
        ours = view.digests_of(asked)
    asking = asyncio.Semaphore(_CONCURRENT)

    async def ask(shard: int, fid: int) -> Node | None:
        async with asking:
            told = await node.trie_node(shard, fid_prefix(fid))
            return None if told is None else told.node

    theirs = await asyncio.gather(*(ask(one.shard, one.fid) for one in asked))
    differing = {one.fid for one, node in zip(asked, theirs, strict=True) if ours.get(one) != node}
    return EqualHashes(frozenset({one.fid for one in ours} - differing), len(asked))


async def _from_the_roots(states: Iterable[ShardState], node: GrpcNode, fids: Sequence[int]) -> EqualHashes:
    """None where the search has to end before all is compared."""
    differing: set[bytes] = set()
    known: set[bytes] = set()
    requests = 0
    for state in states:

        async def ask(prefix: bytes, shard: int = state.shard) -> ToldNode | None:
            return await node.trie_node(shard, prefix)

        found = await descend(OurSide(state), ask)
        requests += found.requests
        if not found.is_whole:
            return EqualHashes(frozenset(), requests)
        differing |= {one.prefix for one in found.fids}
        for virtual_shard in range(256):
            known |= {key for key, _ in state.fids(virtual_shard).listed()}
    equal = known - differing
    return EqualHashes(frozenset(fid for fid in fids if fid_prefix(fid) in equal), requests)
