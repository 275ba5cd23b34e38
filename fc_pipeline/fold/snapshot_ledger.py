"""The ledger of snapshots: which FIDs were asked when, where their records lie, and the rounds over the buckets."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.tables.bookkeeping import SNAPSHOT_ROUNDS, SNAPSHOTS
from fc_pipeline.tables.user_profiles import USER_PROFILES

__all__ = [
    "ALL_FIDS",
    "SnapshotLine",
    "add_to_round",
    "finish_round",
    "forget_folds",
    "known_fids",
    "lines",
    "named_files",
    "open_round",
    "record",
]

ALL_FIDS: Final = "all"
"""The scope of a round over every FID of its bucket."""

RESUMED_FOR: Final = timedelta(days=1)
"""An unfinished round that is older begins anew: its first snapshots say little of the present."""


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


def open_round(connection: sa.Connection, bucket: int, scope: str, run_id: str, now: datetime) -> datetime:
    """Begin a round, or take up the unfinished one of the same bucket and scope; gives when it was begun."""
    rounds = SNAPSHOT_ROUNDS.c
    unfinished = sa.and_(
        rounds.bucket == bucket,
        rounds.scope == scope,
        rounds.finished_at.is_(None),
        rounds.started_at > now - RESUMED_FOR,
    )
    started_at = connection.execute(sa.select(sa.func.max(rounds.started_at)).where(unfinished)).scalar()
    if started_at is None:
        connection.execute(sa.insert(SNAPSHOT_ROUNDS).values(bucket=bucket, scope=scope, started_at=now, run_id=run_id))
        return now
    this = sa.and_(rounds.bucket == bucket, rounds.scope == scope, rounds.started_at == started_at)
    connection.execute(sa.update(SNAPSHOT_ROUNDS).where(this).values(run_id=run_id))
    return started_at


def add_to_round(
    connection: sa.Connection, bucket: int, scope: str, started_at: datetime, snapshots: Sequence[SnapshotLine]
) -> None:
    """Count what was fetched."""
    rounds = SNAPSHOT_ROUNDS.c
    connection.execute(
        sa.update(SNAPSHOT_ROUNDS)
        .where(rounds.bucket == bucket, rounds.scope == scope, rounds.started_at == started_at)
        .values(
            fids=rounds.fids + len(snapshots),
            requests=rounds.requests + sum(one.requests for one in snapshots),
            records=rounds.records + sum(one.records for one in snapshots),
        )
    )


def finish_round(connection: sa.Connection, bucket: int, scope: str, started_at: datetime) -> None:
    """Note that every FID of a round was asked."""
    rounds = SNAPSHOT_ROUNDS.c
    connection.execute(
        sa.update(SNAPSHOT_ROUNDS)
        .where(rounds.bucket == bucket, rounds.scope == scope, rounds.started_at == started_at)
        .values(finished_at=sa.func.clock_timestamp())
    )


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
    insert = pg.insert(SNAPSHOTS).values(values)
    newer = {name: insert.excluded[name] for name in values[0] if name != "fid"}
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[SNAPSHOTS.c.fid],
            set_=newer,
            where=insert.excluded.fetched_at >= SNAPSHOTS.c.fetched_at,
        )
    )


def lines(
    connection: sa.Connection, bucket: int, *, since: datetime | None = None, fids: Collection[int] | None = None
) -> list[SnapshotLine]:
    """The newest snapshots of a bucket by FID, those fetched since a moment, or of some FIDs only."""
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
    ).where(columns.bucket == bucket)
    if since is not None:
        query = query.where(columns.fetched_at >= since)
    found = [SnapshotLine(*row) for row in connection.execute(query.order_by(columns.fid))]
    return found if fids is None else [one for one in found if one.fid in fids]


def named_files(connection: sa.Connection, bucket: int) -> set[str]:
    """The files of a bucket that hold the newest snapshot of some FID."""
    query = sa.select(SNAPSHOTS.c.file).distinct().where(SNAPSHOTS.c.bucket == bucket)
    return set(connection.scalars(query))


def known_fids(connection: sa.Connection, buckets: Collection[int], bucket_count: int) -> set[int]:
    """The FIDs of these buckets that have a profile or a snapshot: a hub may no longer list one."""
    profiles = USER_PROFILES.sql.c
    of_profiles = sa.select(profiles.fid).where((profiles.fid % bucket_count).in_(list(buckets)))
    of_snapshots = sa.select(SNAPSHOTS.c.fid).where(SNAPSHOTS.c.bucket.in_(list(buckets)))
    return set(connection.scalars(sa.union(of_profiles, of_snapshots)))


def forget_folds(connection: sa.Connection) -> None:
    """Note that no snapshot is folded: a table was lost and made anew, without its history."""
    connection.execute(
        sa.update(SNAPSHOTS)
        .where(SNAPSHOTS.c.folded_at.is_not(None))
        .values(folded_version=None, folded_file=None, folded_at=None, folded_run_id=None)
    )
