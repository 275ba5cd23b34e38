"""One state of the live set: per shard the height that is folded, its leaves and the root, from one view of Postgres.

FIDs that were touched since their digests were made are hashed anew as they are read, and nothing is written: so the
root is that of the height, however far the digests lag.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, cast

from fc_pipeline.live_set.leaves import LeafReader, ShardFid
from fc_pipeline.proof.leaf_keys import fid_prefix, virtual_shard
from fc_pipeline.proof.trie import VIRTUAL_SHARD_DEPTH, Node, Nodes
from fc_pipeline.store import coverage
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["LiveSetView", "ShardState"]

_ONE_STATE: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_OUTDATED: Final = (
    "SELECT shard, fid FROM pipeline.stale_fids UNION "
    "SELECT t.shard, f.fid FROM pipeline.touched_fids AS t CROSS JOIN LATERAL unnest(t.fids) AS f (fid)"
)
_VIRTUAL_SHARDS: Final = 256
_VIRTUAL_SHARDS_AT_A_TIME: Final = 16
_DIGESTS: Final = (
    "SELECT fid, leaves, hash FROM pipeline.fid_digests WHERE shard = $1::integer "
    "AND virtual_shard >= $2::integer AND virtual_shard < $3::integer"
)


@dataclass(frozen=True, slots=True)
class ShardState:
    """What the tables say of a shard's trie at `height`, the highest that is folded.

    `virtual_shards` are its nodes of depth 2, of which the root follows.
    """

    shard: int
    height: int
    virtual_shards: Nodes

    @property
    def root(self) -> Node:
        """How many leaves there are, and the trie's root."""
        return self.virtual_shards.root


_Digests = dict[int, tuple[int, bytes]]
"""By FID its leaves and hash; no leaves where it has lost its last one."""


class LiveSetView:
    """A session that only reads; of `shard_count` shards. Not for several threads at once."""

    def __init__(self, libpq_url: str, run_id: str, shard_count: int) -> None:
        self._session = WriterSession(libpq_url, run_id, on_open=self._prepare, is_read_only=True)
        self._reader = LeafReader(self._session, shard_count)

    def __enter__(self) -> Self:
        self._session.open_through_faults()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _prepare(self) -> None:
        self._reader.prepare()

    def states(self) -> list[ShardState]:
        """The states of all shards of which anything is folded, at one moment. Raises PostgresError, SessionLost."""
        return self._session.retried_transaction(self._states)

    def leaves_of(self, shard: int, fid: int) -> list[bytes]:
        """The leaves of an FID on a shard, without the FID's bytes, ascending."""

        def read() -> list[bytes]:
            self._reader.stage([ShardFid(shard, fid)])
            return sorted(cast("list[bytes]", self._reader.leaves()["leaf"].to_pylist()))

        return self._session.retried_transaction(read)

    def _states(self) -> list[ShardState]:
        self._session.execute(_ONE_STATE)
        heights = coverage.heights(self._session.query)
        fresh = self._made_anew()
        return [
            ShardState(shard, heights[shard].last, self._virtual_shards(shard, fresh.get(shard, {})))
            for shard in sorted(heights)
        ]

    def _made_anew(self) -> dict[int, _Digests]:
        """The digests of FIDs that have none as of this state."""
        outdated = [ShardFid(*row) for row in self._session.execute(_OUTDATED)]
        found: dict[int, _Digests] = {}
        for one in outdated:
            found.setdefault(one.shard, {})[one.fid] = (0, b"")
        while outdated:
            size = self._reader.fids_at_a_time
            some, outdated = outdated[:size], outdated[size:]
            for digest in self._reader.digests(some):
                found[digest.shard][digest.fid] = (digest.leaves, digest.hash)
        return found

    def _virtual_shards(self, shard: int, fresh: Mapping[int, tuple[int, bytes]]) -> Nodes:
        parts = [
            self._nodes(self._kept(shard, first, fresh), fresh, first)
            for first in range(0, _VIRTUAL_SHARDS, _VIRTUAL_SHARDS_AT_A_TIME)
        ]
        return joined([part.at(VIRTUAL_SHARD_DEPTH) for part in parts if len(part)])

    def _kept(self, shard: int, first: int, fresh: Mapping[int, tuple[int, bytes]]) -> _Digests:
        parameters = (shard, first, first + _VIRTUAL_SHARDS_AT_A_TIME)
        rows = self._session.execute(_DIGESTS, parameters)
        return {fid: (leaves, bytes(digest)) for fid, leaves, digest in rows if fid not in fresh}

    @staticmethod
    def _nodes(kept: _Digests, fresh: Mapping[int, tuple[int, bytes]], first: int) -> Nodes:
        within = range(first, first + _VIRTUAL_SHARDS_AT_A_TIME)
        anew = {fid: one for fid, one in fresh.items() if one[0] and virtual_shard(fid) in within}
        both = {**kept, **anew}
        return Nodes.of_digests(
            [fid_prefix(fid) for fid in both],
            [leaves for leaves, _ in both.values()],
            [digest for _, digest in both.values()],
        )


def joined(parts: Sequence[Nodes]) -> Nodes:
    """Nodes of depth 2 of several parts of a trie as one."""

    def rows() -> Iterator[tuple[bytes, int, bytes]]:
        for part in parts:
            for key, count, digest in zip(part.keys.tolist(), part.leaf_counts.tolist(), part.hashes, strict=True):
                yield key.ljust(1, b"\0"), count, digest.tobytes()

    listed = list(rows())
    return Nodes.of_digests(
        [key for key, _, _ in listed], [count for _, count, _ in listed], [digest for _, _, digest in listed]
    )
