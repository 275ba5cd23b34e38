"""One state of the live set: per shard the height that is folded, its leaves and the root, from one view of Postgres.

FIDs that were touched since their digests were made are hashed anew as they are read, and nothing is written: so the
root is that of the height, however far the digests lag.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Self, cast

import adbc_driver_manager
import numpy as np

from fc_pipeline.live_set.leaves import LeafReader, ShardFid
from fc_pipeline.proof.leaf_keys import fid_prefix, virtual_shard
from fc_pipeline.proof.trie import VIRTUAL_SHARD_DEPTH, VIRTUAL_SHARDS, Node, Nodes
from fc_pipeline.store import covered_heights
from fc_pipeline.store.retry import explained
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["LiveSetView", "ShardState"]

_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ"
_ROLLBACK: Final = "ROLLBACK"
_OUTDATED: Final = (
    "SELECT shard, fid FROM pipeline.stale_fids UNION "
    "SELECT t.shard, f.fid FROM pipeline.touched_fids AS t CROSS JOIN LATERAL unnest(t.fids) AS f (fid)"
)
_VIRTUAL_SHARDS_AT_A_TIME: Final = 16
_DIGESTS: Final = (
    "SELECT fid, leaves, hash FROM pipeline.fid_digests WHERE shard = $1::integer "
    "AND virtual_shard >= $2::integer AND virtual_shard < $3::integer"
)


_Digests = Mapping[int, tuple[int, bytes]]
"""By FID its leaves and hash; no leaves where it has lost its last one."""


@dataclass(frozen=True)
class ShardState:
    """What the tables say of a shard's trie at `height`, the highest that is folded: valid while its moment is open."""

    shard: int
    height: int
    _view: "LiveSetView" = field(repr=False)
    _fresh: _Digests = field(repr=False)

    @property
    def virtual_shards(self) -> Nodes:
        """Its nodes of depth 2, of which the root follows. Raises PostgresError."""
        return self._virtual_shards

    @cached_property
    def _virtual_shards(self) -> Nodes:
        """Made of all digests, when first asked for."""
        return self._view.virtual_shard_nodes(self.shard, self._fresh)

    @property
    def root(self) -> Node:
        """How many leaves there are, and the trie's root."""
        return self.virtual_shards.root

    def fids(self, virtual_shard: int) -> Nodes:
        """The nodes of the FIDs (depth 10) of a virtual shard. Raises PostgresError."""
        return self._view.fid_nodes(self.shard, range(virtual_shard, virtual_shard + 1), self._fresh)

    def leaves(self, fid_prefix: bytes) -> Nodes:
        """The leaves of an FID, given by the five bytes that its keys begin with. Raises PostgresError."""
        fid = int.from_bytes(fid_prefix[1:], "big")
        leaves = self._view.leaves_of(self.shard, fid)
        return Nodes.of_fid_leaves(np.full(len(leaves), fid, np.int64), leaves)


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

    @contextmanager
    def one_moment(self) -> Generator[list[ShardState]]:
        """The states of all shards of which anything is folded, at one moment. Raises PostgresError."""
        try:
            self._session.execute(_BEGIN)
            yield self._states()
        except adbc_driver_manager.Error as error:
            raise explained(error) from error
        finally:
            with suppress(adbc_driver_manager.Error):  # of a session that is gone nothing is left to roll back
                self._session.execute(_ROLLBACK)

    def leaves_of(self, shard: int, fid: int) -> list[bytes]:
        """The leaves of an FID on a shard at this moment, without the FID's bytes, ascending."""
        self._reader.stage([ShardFid(shard, fid)])
        return sorted(cast("list[bytes]", self._reader.leaves()["leaf"].to_pylist()))

    def digests_of(self, fids: Sequence[ShardFid]) -> dict[ShardFid, Node]:
        """The nodes of FIDs at this moment, made of their rows; none of those without a leaf. Raises PostgresError."""
        found: dict[ShardFid, Node] = {}
        left = fids
        while left:
            size = self._reader.fids_at_a_time
            some, left = left[:size], left[size:]
            found |= {ShardFid(one.shard, one.fid): Node(one.leaves, one.hash) for one in self._reader.digests(some)}
        return found

    def fid_nodes(self, shard: int, virtual_shards: range, fresh: _Digests) -> Nodes:
        """The nodes of the FIDs of some virtual shards at this moment; `fresh` has those whose digests are outdated."""
        rows = self._session.execute(_DIGESTS, (shard, virtual_shards.start, virtual_shards.stop))
        digests = {fid: (leaves, bytes(digest)) for fid, leaves, digest in rows if fid not in fresh}
        digests |= {fid: one for fid, one in fresh.items() if one[0] and virtual_shard(fid) in virtual_shards}
        return Nodes.of_digests(
            [fid_prefix(fid) for fid in digests],
            [leaves for leaves, _ in digests.values()],
            [digest for _, digest in digests.values()],
        )

    def virtual_shard_nodes(self, shard: int, fresh: _Digests) -> Nodes:
        """The nodes of depth 2 at this moment, a part of the FIDs in memory at a time; `fresh` as above."""
        listed: list[tuple[bytes, Node]] = []
        for first in range(0, VIRTUAL_SHARDS, _VIRTUAL_SHARDS_AT_A_TIME):
            part = self.fid_nodes(shard, range(first, first + _VIRTUAL_SHARDS_AT_A_TIME), fresh)
            listed += part.at(VIRTUAL_SHARD_DEPTH).listed()
        return Nodes.of_digests(
            [key for key, _ in listed], [node.leaf_count for _, node in listed], [node.hash for _, node in listed]
        )

    def _states(self) -> list[ShardState]:
        heights = covered_heights.extents(self._session.query)
        made_anew = self._made_anew()
        return [ShardState(shard, heights[shard].last, self, made_anew.get(shard, {})) for shard in sorted(heights)]

    def _made_anew(self) -> dict[int, dict[int, tuple[int, bytes]]]:
        """By shard the digests of FIDs that have none as of this moment."""
        outdated = [ShardFid(*row) for row in self._session.execute(_OUTDATED)]
        found: dict[int, dict[int, tuple[int, bytes]]] = {}
        for one in outdated:
            found.setdefault(one.shard, {})[one.fid] = (0, b"")
        for one, node in self.digests_of(outdated).items():
            found[one.shard][one.fid] = (node.leaf_count, node.hash)
        return found
