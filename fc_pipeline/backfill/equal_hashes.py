"""Which users' records are the hub's by the hashes of both tries, so that they need not be read.

Ours are made of the rows as they are now, the hub's are of its tries now: a user who has done something since the last
fold differs, and so does one of whom no feed tells all (KEY_ADD). Equal hashes say nothing of columns: a row whose hash
is right may have another text.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.live_set.leaves import ShardFid
from fc_pipeline.live_set.state import LiveSetView
from fc_pipeline.proof.leaf_keys import fid_prefix
from fc_pipeline.proof.trie import Node

__all__ = ["EqualHashes", "equal_hashes"]

_FIDS_AT_A_TIME: Final = 1_000
_CONCURRENT: Final = 16


@dataclass(frozen=True, slots=True)
class EqualHashes:
    """The FIDs that both sides know and whose leaves are the same on every shard, and how many nodes were asked for."""

    fids: frozenset[int]
    requests: int


async def equal_hashes(view: LiveSetView, node: GrpcNode, fids: Sequence[int]) -> EqualHashes:
    """Of these FIDs, some at a time, each part at a moment of its own. Raises HubError, PostgresError."""
    equal: set[int] = set()
    requests = 0
    for at in range(0, len(fids), _FIDS_AT_A_TIME):
        part = await _equal_at_a_moment(view, node, fids[at : at + _FIDS_AT_A_TIME])
        equal |= part.fids
        requests += part.requests
    return EqualHashes(frozenset(equal), requests)


async def _equal_at_a_moment(view: LiveSetView, node: GrpcNode, fids: Sequence[int]) -> EqualHashes:
    with view.one_moment() as states:
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
