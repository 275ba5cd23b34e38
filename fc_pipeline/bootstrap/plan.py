"""Cuts a shard's FIDs into parts of about equally many leaves, by what the node's own trie counts."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.node_db import keys
from fc_pipeline.node_db.database import NodeShard
from fc_pipeline.node_db.keys import FID_SPACE
from fc_pipeline.node_db.stored_trie import StoredTrie
from fc_pipeline.proof.leaf_keys import fid_prefix
from fc_pipeline.store.bulk_load import LoadPart

__all__ = ["LEAVES_PER_PART", "parts_of", "refuse_missing_shards"]

LEAVES_PER_PART: Final = 100_000
"""So many leaves and their rows are in memory at a time, some 100 MB; of one FID alone it may be more."""


_LOOKED_AT_FIDS: Final = 200
_FEWEST_FIDS: Final = 16
_MOST_SHARDS: Final = 16


def refuse_missing_shards(nodes: Sequence[NodeShard]) -> None:
    """Raise NodeDatabaseError if the first shard's users are those of a network with more shards than there are."""
    bounds = keys.below(keys.REGISTERED)
    fids = [keys.fid_of(key, keys.REGISTERED) for key in islice(nodes[0].keys(bounds), _LOOKED_AT_FIDS)]
    for shards in range(len(nodes) + 1, _MOST_SHARDS + 1):
        if len(fids) >= _FEWEST_FIDS and all(shard_of(fid, shards) == nodes[0].shard for fid in fids):
            raise NodeDatabaseError(
                f"the users of shard {nodes[0].shard} are those of a network with {shards} shards, and "
                f"{len(nodes)} {'is' if len(nodes) == 1 else 'are'} here",
                hint="a replica needs every data shard: copy the missing folders, too",
            )


def parts_of(node: NodeShard, leaves_per_part: int = LEAVES_PER_PART) -> Iterator[LoadPart]:
    """Parts that together have every FID there can be, registered or not, ascending."""
    trie = StoredTrie(node)
    first, leaves = 0, 0
    for key in node.keys(keys.below(keys.REGISTERED)):
        fid = keys.fid_of(key, keys.REGISTERED)
        found = trie.node(fid_prefix(fid))
        of_fid = found.leaf_count if found is not None else 0
        if leaves and leaves + of_fid > leaves_per_part:
            yield LoadPart(node.shard, first, fid, leaves)
            first, leaves = fid, 0
        leaves += of_fid
    yield LoadPart(node.shard, first, FID_SPACE, leaves)
