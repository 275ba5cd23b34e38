"""Keeps `pipeline.fid_digests`: makes the digests of FIDs anew that were touched since, in bulk, off the hot path.

Each chunk is one transaction that sees one state of the tables. A fold that commits meanwhile leaves a note of its own,
so no change is ever lost: at worst a digest is made once more.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self, cast

import pyarrow as pa

from fc_pipeline.live_set import leaf_sql
from fc_pipeline.live_set.leaves import FidDigest, LeafReader, ShardFid
from fc_pipeline.proof.leaf_keys import virtual_shard
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["DigestKeeper", "Refreshed", "digest_lines"]

_ONE_STATE: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_ONE_AT_A_TIME: Final = "LOCK TABLE pipeline.digested_shards IN EXCLUSIVE MODE"
"""Until commit, before the transaction sees anything: what another keeper has committed by then is in its state."""

_STAGING: Final = "stage_fid_digests"
_CREATE_STAGING: Final = (
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} (shard integer, virtual_shard smallint, fid bigint, "
    "leaves bigint, hash bytea) ON COMMIT DELETE ROWS"
)

_NOTES_AT_A_TIME: Final = 500
_TAKE_NOTES: Final = (
    "WITH taken AS (DELETE FROM pipeline.touched_fids WHERE id IN (SELECT id FROM pipeline.touched_fids ORDER BY id "
    f"LIMIT {_NOTES_AT_A_TIME}) RETURNING shard, fids), "
    "stale AS (INSERT INTO pipeline.stale_fids (shard, fid) SELECT DISTINCT t.shard, f.fid FROM taken AS t "
    "CROSS JOIN LATERAL unnest(t.fids) AS f (fid) ON CONFLICT DO NOTHING) SELECT count(*) FROM taken"
)
_UNLISTED: Final = (
    "SELECT DISTINCT shard FROM pipeline.covered_heights AS c WHERE NOT EXISTS "
    "(SELECT FROM pipeline.digested_shards AS d WHERE d.shard = c.shard)"
)
_LIST_SHARD: Final = "INSERT INTO pipeline.digested_shards (shard) VALUES ($1::integer) ON CONFLICT DO NOTHING"
_LIST_STAGED: Final = (
    f"INSERT INTO pipeline.stale_fids (shard, fid) SELECT shard, fid FROM {leaf_sql.STAGING} ON CONFLICT DO NOTHING"
)
_LIST_VIRTUAL_SHARDS: Final = (
    "INSERT INTO pipeline.stale_fids (shard, fid) SELECT shard, fid FROM pipeline.fid_digests "
    "WHERE virtual_shard >= $1::integer AND virtual_shard < $2::integer ON CONFLICT DO NOTHING"
)
_LEAVES: Final = "SELECT coalesce(sum(leaves), 0)::bigint FROM pipeline.fid_digests"
_NEXT_STALE: Final = "SELECT shard, fid FROM pipeline.stale_fids ORDER BY shard, fid LIMIT $1::bigint"
_PUT_DIGESTS: Final = (
    "INSERT INTO pipeline.fid_digests AS t (shard, virtual_shard, fid, leaves, hash) "
    f"SELECT shard, virtual_shard, fid, leaves, hash FROM {_STAGING} ORDER BY shard, virtual_shard, fid "
    "ON CONFLICT (shard, virtual_shard, fid) DO UPDATE SET leaves = excluded.leaves, hash = excluded.hash "
    "WHERE (t.leaves, t.hash) <> (excluded.leaves, excluded.hash)"
)
_DROP_DIGESTS: Final = (
    f"DELETE FROM pipeline.fid_digests AS t USING {leaf_sql.STAGING} AS s WHERE t.shard = s.shard "
    "AND t.virtual_shard = s.virtual_shard AND t.fid = s.fid "
    f"AND NOT EXISTS (SELECT FROM {_STAGING} AS d WHERE d.shard = s.shard AND d.fid = s.fid)"
)
_DROP_STALE: Final = (
    f"DELETE FROM pipeline.stale_fids AS t USING {leaf_sql.STAGING} AS s WHERE t.shard = s.shard AND t.fid = s.fid"
)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How many digests were made, of how many leaves, and how long it took."""

    fids: int = 0
    leaves: int = 0
    seconds: float = 0.0


class DigestKeeper:
    """One session that makes digests; several processes wait for one another. Not for several threads at once."""

    def __init__(self, libpq_url: str, run_id: str, shard_count: int, *, only_targets: bool = False) -> None:
        """With `only_targets`, the tables have the leaves of targets alone: of others there is no digest."""
        self._only_targets = only_targets
        self._session = WriterSession(libpq_url, run_id, on_open=self._prepare)
        self._reader = LeafReader(self._session, shard_count)
        self._shard_count = shard_count

    def __enter__(self) -> Self:
        self._session.open_through_faults()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _prepare(self) -> None:
        self._reader.prepare()
        self._session.execute(_CREATE_STAGING)

    def refresh(self, *, all_fids: bool = False, should_stop: Callable[[], bool] = lambda: False) -> Refreshed:
        """Make the digests anew of all FIDs that were touched since they were made, or of `all_fids`.

        All of them also finds what was changed in the tables by hand. Ends early, with whole chunks, if `should_stop`.
        Raises PostgresError, SessionLost.
        """
        return self._refresh(lambda: self._list_fids(all_fids=all_fids), should_stop)

    def refresh_virtual_shards(
        self, virtual_shards: range, *, should_stop: Callable[[], bool] = lambda: False
    ) -> Refreshed:
        """The same, and of all FIDs of some virtual shards that have digests: what was changed there by hand is found.

        Raises PostgresError, SessionLost.
        """

        def list_fids() -> None:
            self._list_fids(all_fids=False)
            self._session.execute(_LIST_VIRTUAL_SHARDS, (virtual_shards.start, virtual_shards.stop))

        return self._refresh(list_fids, should_stop)

    def refresh_fids(self, fids: Iterable[ShardFid]) -> Refreshed:
        """The same, and of these FIDs. Raises PostgresError, SessionLost."""
        listed = list(fids)

        def list_fids() -> None:
            self._list_fids(all_fids=False)
            self._reader.stage(listed)
            self._session.execute(_LIST_STAGED)

        return self._refresh(list_fids, lambda: False)

    def leaves(self) -> int:
        """How many leaves there are by all digests, as they are. Raises PostgresError, SessionLost."""
        return self._session.retried_transaction(lambda: int(self._session.execute(_LEAVES)[0][0]))

    def _refresh(self, list_fids: Callable[[], None], should_stop: Callable[[], bool]) -> Refreshed:
        started = time.monotonic()
        while self._session.retried_transaction(self._take_notes):
            pass
        self._session.retried_transaction(list_fids)
        fids = leaves = 0
        for chunk in self._chunks(should_stop):
            fids, leaves = fids + chunk.fids, leaves + chunk.leaves
        return Refreshed(fids, leaves, time.monotonic() - started)

    def _take_notes(self) -> int:
        self._begin()
        return self._session.execute(_TAKE_NOTES)[0][0]

    def _begin(self) -> None:
        self._session.execute(_ONE_STATE)
        self._session.execute(_ONE_AT_A_TIME)
        hold_schema(self._session.execute)

    def _list_fids(self, *, all_fids: bool) -> None:
        """List every FID of shards that were never listed, or of all shards."""
        self._begin()
        shards = [row[0] for row in self._session.execute(_UNLISTED)]
        if all_fids:
            shards = list(range(1, self._shard_count + 1))
        if not shards:
            return
        listing = leaf_sql.ALL_TARGETS if self._only_targets else leaf_sql.ALL_FIDS
        fids = cast("list[int]", self._session.read(listing)["fid"].drop_null().to_pylist())
        self._reader.stage(ShardFid(shard, fid) for shard in shards for fid in fids)
        self._session.execute(_LIST_STAGED)
        for shard in shards:
            self._session.execute(_LIST_SHARD, (shard,))

    def _chunks(self, should_stop: Callable[[], bool]) -> Iterator[Refreshed]:
        while not should_stop():
            done = self._session.retried_transaction(self._chunk)
            if not done.fids:
                return
            yield done

    def _chunk(self) -> Refreshed:
        self._begin()
        stale = [ShardFid(*row) for row in self._session.execute(_NEXT_STALE, (self._reader.fids_at_a_time,))]
        if not stale:
            return Refreshed()
        digests = self._reader.digests(self._whole(stale))
        self._reader.stage(stale)
        self._session.copy(_STAGING, digest_lines(digests))
        for statement in (_PUT_DIGESTS, _DROP_DIGESTS, _DROP_STALE):
            self._session.execute(statement)
        return Refreshed(len(stale), sum(one.leaves for one in digests))

    def _whole(self, fids: list[ShardFid]) -> list[ShardFid]:
        """Those of the FIDs whose leaves the tables are to have."""
        if not self._only_targets:
            return fids
        targets = {row[0] for row in self._session.execute(leaf_sql.TARGETS)}
        return [one for one in fids if one.fid in targets]


def digest_lines(digests: list[FidDigest]) -> pa.Table:
    """Rows of `pipeline.fid_digests`, in the order of its columns."""
    return pa.table(
        {
            "shard": pa.array([one.shard for one in digests], pa.int32()),
            "virtual_shard": pa.array([virtual_shard(one.fid) for one in digests], pa.int16()),
            "fid": pa.array([one.fid for one in digests], pa.int64()),
            "leaves": pa.array([one.leaves for one in digests], pa.int64()),
            "hash": pa.array([one.hash for one in digests], pa.binary()),
        }
    )
