"""The ledger of snapshots: which FIDs were fetched when, where their records are, and the rounds over the buckets."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.hub.wire import height_of
from fc_pipeline.store.bookkeeping import DRIFT, SNAPSHOT_ROUNDS, SNAPSHOTS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.user_profiles import USER_PROFILES

__all__ = [
    "ALL_FIDS",
    "SnapshotLine",
    "add_to_rounds",
    "drift_of_run",
    "fetched_fids",
    "finish_rounds",
    "folded_as_of",
    "folded_fids",
    "forget_folds",
    "known_fids",
    "lines",
    "named_files",
    "newest_heights",
    "open_rounds",
    "record",
    "registered_fids",
    "unfinished_rounds",
]

ALL_FIDS: Final = "all"
"""The scope of a round over every FID of its bucket."""

RESUMABLE_FOR: Final = timedelta(days=1)
"""How long after its last snapshot an interrupted run can be resumed; after that, its rounds start over."""


FidArray = npt.NDArray[np.int64]

_FIDS_AT_A_TIME: Final = 50_000
_FETCHED: Final = sa.text(
    "SELECT s.fid FROM unnest(CAST(:buckets AS integer[]), CAST(:moments AS timestamptz[])) AS r (bucket, begun_at) "
    "JOIN pipeline.snapshots AS s ON s.bucket = r.bucket AND s.fetched_at >= r.begun_at ORDER BY 1"
)
_ADD_TO_ROUND: Final = sa.text(
    "UPDATE pipeline.snapshot_rounds SET fids = fids + :fids, requests = requests + :requests, "
    "records = records + :records WHERE bucket = :bucket AND scope = :scope AND started_at = :started_at"
)


@dataclass(frozen=True, slots=True)
class SnapshotLine:
    """The newest snapshot of an FID; `is_folded` says whether it is also the one that was folded last."""

    fid: int
    shard: int
    bucket: int
    version: int
    until_id: int
    file: str
    records: int
    requests: int
    fetched_at: datetime
    is_folded: bool = False


def unfinished_rounds(
    connection: sa.Connection, buckets: Collection[int], scope: str, now: datetime | None = None
) -> dict[int, datetime]:
    """The rounds of a scope that a run would take up, by bucket, and when each was begun."""
    rounds = SNAPSHOT_ROUNDS.c
    cutoff = (now or datetime.now(UTC)) - RESUMABLE_FOR
    active_runs = sa.select(SNAPSHOTS.c.run_id).where(SNAPSHOTS.c.fetched_at > cutoff)
    unfinished = sa.and_(
        rounds.bucket.in_(list(buckets)),
        rounds.scope == scope,
        rounds.finished_at.is_(None),
        sa.or_(rounds.started_at > cutoff, rounds.run_id.in_(active_runs)),
    )
    query = sa.select(rounds.bucket, sa.func.max(rounds.started_at)).where(unfinished).group_by(rounds.bucket)
    return {row[0]: row[1] for row in connection.execute(query)}


def open_rounds(
    connection: sa.Connection, buckets: Collection[int], scope: str, run_id: str, now: datetime
) -> dict[int, datetime]:
    """Begin a round of each bucket, or take up its unfinished one of the same scope; gives when each was begun."""
    rounds = SNAPSHOT_ROUNDS.c
    begun = unfinished_rounds(connection, buckets, scope, now)
    connection.execute(sa.update(SNAPSHOT_ROUNDS).where(rounds.scope == scope, _is_one_of(begun)).values(run_id=run_id))
    new = [bucket for bucket in buckets if bucket not in begun]
    if new:
        values = [{"bucket": bucket, "scope": scope, "started_at": now, "run_id": run_id} for bucket in new]
        connection.execute(sa.insert(SNAPSHOT_ROUNDS).values(values))
    return {**begun, **dict.fromkeys(new, now)}


def add_to_rounds(
    connection: sa.Connection, scope: str, begun: Mapping[int, datetime], snapshots: Iterable[SnapshotLine]
) -> None:
    """Count what was fetched in the rounds of its buckets."""
    by_bucket: defaultdict[int, list[SnapshotLine]] = defaultdict(list)
    for one in snapshots:
        by_bucket[one.bucket].append(one)
    for bucket, several in sorted(by_bucket.items()):
        connection.execute(
            _ADD_TO_ROUND,
            {
                "bucket": bucket,
                "scope": scope,
                "started_at": begun[bucket],
                "fids": len(several),
                "requests": sum(one.requests for one in several),
                "records": sum(one.records for one in several),
            },
        )


def finish_rounds(connection: sa.Connection, scope: str, begun: Mapping[int, datetime]) -> None:
    """Record that every FID of these rounds was fetched."""
    connection.execute(
        sa.update(SNAPSHOT_ROUNDS)
        .where(SNAPSHOT_ROUNDS.c.scope == scope, _is_one_of(begun))
        .values(finished_at=sa.func.clock_timestamp())
    )


def _is_one_of(begun: Mapping[int, datetime]) -> sa.ColumnElement[bool]:
    return sa.tuple_(SNAPSHOT_ROUNDS.c.bucket, SNAPSHOT_ROUNDS.c.started_at).in_(list(begun.items()))


def record(connection: sa.Connection, snapshots: Iterable[SnapshotLine], run_id: str) -> None:
    """Note where the newest snapshots of FIDs lie; what was folded of older ones stays noted."""
    values = [
        {
            "fid": one.fid,
            "shard": one.shard,
            "bucket": one.bucket,
            "version": one.version,
            "until_id": one.until_id,
            "file": one.file,
            "records": one.records,
            "requests": one.requests,
            "fetched_at": one.fetched_at,
            "run_id": run_id,
        }
        for one in snapshots
    ]
    if not values:
        return
    # The values apart from the statement: of one with all of them in it, making the text takes longer than the rest.
    insert = pg.insert(SNAPSHOTS)
    newer = {name: insert.excluded[name] for name in values[0] if name != "fid"}
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[SNAPSHOTS.c.fid],
            set_=newer,
            where=insert.excluded.fetched_at >= SNAPSHOTS.c.fetched_at,
        ),
        values,
    )


def lines(
    connection: sa.Connection,
    buckets: Collection[int],
    *,
    since: datetime | None = None,
    fids: Collection[int] | None = None,
) -> list[SnapshotLine]:
    """The newest snapshots of buckets by FID, those fetched since a moment, or of some FIDs only."""
    columns = SNAPSHOTS.c
    query = sa.select(
        columns.fid,
        columns.shard,
        columns.bucket,
        columns.version,
        columns.until_id,
        columns.file,
        columns.records,
        columns.requests,
        columns.fetched_at,
        sa.func.coalesce(columns.folded_file == columns.file, False),
    ).where(columns.bucket.in_(list(buckets)))
    if since is not None:
        query = query.where(columns.fetched_at >= since)
    found = [SnapshotLine(*row) for row in connection.execute(query.order_by(columns.fid))]
    return found if fids is None else [one for one in found if one.fid in fids]


def named_files(connection: sa.Connection, buckets: Collection[int]) -> set[str]:
    """The files of buckets that hold the newest snapshot of some FID."""
    query = sa.select(SNAPSHOTS.c.file).distinct().where(SNAPSHOTS.c.bucket.in_(list(buckets)))
    return set(connection.scalars(query))


def fetched_fids(connection: sa.Connection, begun: Mapping[int, datetime]) -> FidArray:
    """The FIDs that were fetched since the rounds of their buckets were begun, ascending."""
    return _array(connection, _FETCHED, {"buckets": list(begun), "moments": list(begun.values())})


def folded_fids(connection: sa.Connection, fids: Collection[int], *, since: datetime | None = None) -> set[int]:
    """Those of these FIDs of which a snapshot was folded, if need be since a moment."""
    columns = SNAPSHOTS.c
    query = sa.select(columns.fid).where(columns.folded_at.is_not(None))
    return _among(connection, query if since is None else query.where(columns.folded_at >= since), fids)


def folded_as_of(connection: sa.Connection, fids: Collection[int], event_id: int) -> set[int]:
    """Those of these FIDs of which a snapshot was folded that has this event or later ones."""
    return _among(connection, sa.select(SNAPSHOTS.c.fid).where(SNAPSHOTS.c.folded_version >= event_id), fids)


def _among(connection: sa.Connection, query: sa.Select[tuple[int]], fids: Collection[int]) -> set[int]:
    """Which of these FIDs a query has, asked for some at a time: there may be millions."""
    found: set[int] = set()
    ascending = sorted(fids)
    for at in range(0, len(ascending), _FIDS_AT_A_TIME):
        asked = sa.cast(ascending[at : at + _FIDS_AT_A_TIME], pg.ARRAY(sa.BigInteger))
        found.update(connection.scalars(query.where(SNAPSHOTS.c.fid == sa.func.any(asked))))
    return found


def _array(connection: sa.Connection, query: sa.Executable, values: Mapping[str, Any] | None = None) -> FidArray:
    """The FIDs of a query, read some at a time: eight bytes each, not a hundred."""
    rows = connection.execute(query, values, execution_options={"yield_per": _FIDS_AT_A_TIME})
    return np.fromiter(rows.scalars(), np.int64)


def registered_fids(connection: sa.Connection, fids: Collection[int]) -> set[int]:
    """Those of these FIDs whose registration is in the tables."""
    events = ON_CHAIN_EVENTS.sql.c
    query = sa.select(events.fid).where(events.fid.in_(fids), events.type == "id_register", events.deleted_at.is_(None))
    return set(connection.scalars(query))


def newest_heights(connection: sa.Connection) -> dict[int, int]:
    """Per shard the height of the newest snapshot."""
    query = sa.select(SNAPSHOTS.c.shard, sa.func.max(SNAPSHOTS.c.version)).group_by(SNAPSHOTS.c.shard)
    return {row[0]: height_of(row[1]) for row in connection.execute(query)}


def known_fids(connection: sa.Connection, buckets: Collection[int], bucket_count: int) -> FidArray:
    """The FIDs of these buckets that have a profile or a snapshot, each once: a hub may no longer list one."""
    profiles = USER_PROFILES.sql.c
    of_profiles = sa.select(profiles.fid).where((profiles.fid % bucket_count).in_(list(buckets)))
    of_snapshots = sa.select(SNAPSHOTS.c.fid).where(SNAPSHOTS.c.bucket.in_(list(buckets)))
    return _array(connection, sa.union(of_profiles, of_snapshots))


def drift_of_run(connection: sa.Connection, run_id: str, bucket: int) -> dict[str, int]:
    """Per table the rows of a bucket that a run corrected although their history was covered."""
    columns = DRIFT.c
    query = sa.select(columns.table_name, sa.func.count()).where(columns.run_id == run_id, columns.bucket == bucket)
    return {row[0]: row[1] for row in connection.execute(query.group_by(columns.table_name))}


def forget_folds(connection: sa.Connection) -> None:
    """Note that no snapshot is folded: a table was lost and rebuilt, without its history."""
    connection.execute(
        sa.update(SNAPSHOTS)
        .where(SNAPSHOTS.c.folded_at.is_not(None))
        .values(
            folded_version=None,
            folded_file=None,
            folded_at=None,
            folded_run_id=None,
            folded_until_id=None,
            leaves_versions=None,
        )
    )
