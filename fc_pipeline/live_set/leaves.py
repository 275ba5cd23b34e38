"""Reads the leaves of FIDs from the tables, and makes their digests: the nodes of FIDs in each shard's trie."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

import numpy as np
import pyarrow as pa

from fc_pipeline.hub.snapshot import CONTRACTS_FID, shard_of
from fc_pipeline.hub.wire import FIRST_SHARD
from fc_pipeline.live_set import leaf_sql
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix
from fc_pipeline.proof.trie import fid_digests
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["FidDigest", "LeafReader", "ShardFid", "home_shard"]

_FIRST_FIDS: Final = 500
_MAX_FIDS: Final = 10_000
_LEAVES_AT_A_TIME: Final = 100_000
"""So many leaves are in memory at a time, some 50 MB; of one FID alone it may be more."""


class ShardFid(NamedTuple):
    """An FID on one shard, which need not be its home."""

    shard: int
    fid: int


class FidDigest(NamedTuple):
    """The node of an FID in a shard's trie: how many leaves are below it, and its hash of 20 bytes."""

    shard: int
    fid: int
    leaves: int
    hash: bytes


def home_shard(fid: int, shard_count: int) -> int:
    """The shard that has an FID's messages and contract events; those of no FID are on the first one (hub-api 12)."""
    return FIRST_SHARD if fid == CONTRACTS_FID else shard_of(fid, shard_count)


@dataclass
class LeafReader:
    """Reads in the transactions of a session, which gets a temporary table; of `shard_count` shards."""

    session: WriterSession
    shard_count: int
    _fids_at_a_time: int = field(default=_FIRST_FIDS, init=False)

    @property
    def fids_at_a_time(self) -> int:
        """How many FIDs to read next, by how many leaves the ones before had."""
        return self._fids_at_a_time

    def prepare(self) -> None:
        """Make the temporary table."""
        self.session.execute(leaf_sql.CREATE_STAGING)

    def stage(self, fids: Iterable[ShardFid]) -> None:
        """Stage the FIDs whose leaves are read next, each once; the session's transaction empties it at its end."""
        listed = list(fids)
        self.session.execute(leaf_sql.EMPTY_STAGING)
        self.session.copy(
            leaf_sql.STAGING,
            pa.table(
                {
                    "shard": pa.array([one.shard for one in listed], pa.int32()),
                    "virtual_shard": pa.array([fid_prefix(one.fid)[0] for one in listed], pa.int16()),
                    "fid": pa.array([one.fid for one in listed], pa.int64()),
                    "is_home": pa.array([home_shard(one.fid, self.shard_count) == one.shard for one in listed]),
                }
            ),
        )

    def leaves(self) -> pa.Table:
        """The leaves (shard, fid, leaf) of the staged FIDs, in any order."""
        return pa.concat_tables([self.session.read(statement) for statement in leaf_sql.LEAVES])

    def digests(self, fids: Sequence[ShardFid]) -> list[FidDigest]:
        """Digests of these FIDs, each given once, but for those that have no leaf.

        Raises ValueError where two rows are the same leaf.
        """
        if not fids:
            return []
        self.stage(fids)
        read = self.leaves()
        if len(read):
            per_fid = len(read) / len(fids)
            self._fids_at_a_time = max(1, min(_MAX_FIDS, int(_LEAVES_AT_A_TIME / per_fid)))
        by_prefix = {(one.shard, fid_prefix(one.fid)): one.fid for one in fids}
        shards = read["shard"].to_numpy()
        found: list[FidDigest] = []
        for shard in np.unique(shards).tolist():
            found += _shard_digests(shard, read.filter(pa.array(shards == shard)), by_prefix)
        return found


def _shard_digests(shard: int, leaves: pa.Table, by_prefix: Mapping[tuple[int, bytes], int]) -> Iterable[FidDigest]:
    nodes = fid_digests(leaves["fid"].to_numpy(), cast("list[bytes]", leaves["leaf"].to_pylist()))
    # NumPy shows a key without the NUL at its end.
    keys = np.ascontiguousarray(nodes.keys).view(np.uint8).reshape(len(nodes), FID_PREFIX_BYTES)
    for key, count, digest in zip(keys, nodes.leaf_counts.tolist(), nodes.hashes, strict=True):
        yield FidDigest(shard, by_prefix[shard, key.tobytes()], count, digest.tobytes())
