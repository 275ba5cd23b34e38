"""Proves what was read: all digests of a shard together have the root that its block header has."""

import asyncio
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from fc_pipeline.bootstrap.fid_leaves import ProvedFid, told_alone
from fc_pipeline.bootstrap.message_rows import version_of
from fc_pipeline.bulk_load.copying import load
from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.live_set.digests import digest_lines
from fc_pipeline.node_db.database import NodeShard
from fc_pipeline.node_db.stored_trie import StoredTrie
from fc_pipeline.proof.descent import OurSide, ToldNode, descend
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix
from fc_pipeline.proof.trie import VIRTUAL_SHARD_DEPTH, VIRTUAL_SHARDS, Node, Nodes
from fc_pipeline.store.bulk_load import LoadShard
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.other_leaves import OTHER_LEAVES, told_rows

__all__ = ["prove_shard"]

_DIGESTS: Final = sa.text(
    "SELECT fid, leaves, hash FROM pipeline.fid_digests WHERE shard = :shard AND virtual_shard BETWEEN :first AND :last"
)
_VIRTUAL_SHARDS_AT_A_TIME: Final = 16


@dataclass(frozen=True)
class _Digests:
    """A shard's trie as the digests have it."""

    engine: sa.Engine
    shard: int

    @property
    def virtual_shards(self) -> Nodes:
        listed: list[tuple[bytes, Node]] = []
        for first in range(0, VIRTUAL_SHARDS, _VIRTUAL_SHARDS_AT_A_TIME):
            nodes = self._nodes(first, first + _VIRTUAL_SHARDS_AT_A_TIME - 1)
            listed += nodes.at(VIRTUAL_SHARD_DEPTH).listed()
        counts = [node.leaf_count for _, node in listed]
        return Nodes.of_digests([key for key, _ in listed], counts, [node.hash for _, node in listed])

    def fids(self, virtual_shard: int) -> Nodes:
        return self._nodes(virtual_shard, virtual_shard)

    def leaves(self, fid_prefix: bytes) -> Nodes:
        raise NotImplementedError("FIDs that both sides have were held against the trie before")

    def _nodes(self, first: int, last: int) -> Nodes:
        with self.engine.connect() as connection:
            rows = connection.execute(_DIGESTS, {"shard": self.shard, "first": first, "last": last}).all()
        return Nodes.of_digests(
            [fid_prefix(fid) for fid, _, _ in rows],
            [leaves for _, leaves, _ in rows],
            [bytes(digest) for _, _, digest in rows],
        )


def prove_shard(engine: sa.Engine, session: WriterSession, node: NodeShard, shard: LoadShard) -> Node:
    """The shard's root, which is the header's; leaves of FIDs of whom nothing else tells are taken from the trie.

    Raises NodeDatabaseError where rows and header do not agree.
    """
    digests = _Digests(engine, shard.shard)
    trie = StoredTrie(node)
    root = digests.virtual_shards.root
    if root.hash != shard.shard_root:
        for one in _of_trie_alone(digests, trie):
            session.transaction(lambda one=one: _add(session, shard, one))
        root = digests.virtual_shards.root
    if root.hash != shard.shard_root:
        raise NodeDatabaseError(
            f"shard {shard.shard}: what was read has the root {root.hash.hex()}, and the header of block "
            f"{shard.height} has {shard.shard_root.hex()}",
            hint="the files are damaged or were changed: take another copy, and bootstrap into a new database",
        )
    return root


def _of_trie_alone(digests: _Digests, trie: StoredTrie) -> list[ProvedFid]:
    """FIDs of which the trie has leaves and nothing else has any."""

    async def ask(prefix: bytes) -> ToldNode | None:
        return trie.told(prefix)

    found = asyncio.run(descend(OurSide(digests), ask, goes_into_fids=False)).fids
    fids = {one: int.from_bytes(one.prefix[1:FID_PREFIX_BYTES], "big") for one in found}
    for one, fid in fids.items():
        if one.ours is not None:
            raise NodeDatabaseError(
                f"shard {digests.shard}: FID {fid} is not as the trie has it",
                hint="the files are damaged or were changed: take another copy",
            )
    return [told_alone(trie, fid) for fid in fids.values()]


def _add(session: WriterSession, shard: LoadShard, one: ProvedFid) -> None:
    rows = told_rows(shard.shard, one.fid, list(one.told), version_of(shard.height))
    load(session, OTHER_LEAVES, OTHER_LEAVES.arrow(rows))
    session.copy_into("pipeline", "fid_digests", digest_lines([one.digest(shard.shard)]))
