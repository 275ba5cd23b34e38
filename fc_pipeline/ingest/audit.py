"""Audits: which buckets are compared next, and what the newest round over a bucket found wrong."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from fc_pipeline.fold.snapshot_ledger import ALL_FIDS
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.tables.bookkeeping import DRIFT, SNAPSHOT_ROUNDS, SNAPSHOTS

__all__ = ["DriftFinding", "drift_of_bucket", "next_buckets"]

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """What the newest round over a bucket found: users and records compared, wrong rows by table."""

    fids: int
    records: int
    rows_by_table: dict[str, int]

    @property
    def rows(self) -> int:
        """Wrong rows of all tables."""
        return sum(self.rows_by_table.values())

    def __add__(self, other: "DriftFinding") -> "DriftFinding":
        tables = sorted({*self.rows_by_table, *other.rows_by_table})
        rows = {name: self.rows_by_table.get(name, 0) + other.rows_by_table.get(name, 0) for name in tables}
        return DriftFinding(self.fids + other.fids, self.records + other.records, rows)


def drift_of_bucket(replica: Replica, bucket: int) -> DriftFinding:
    """Nothing at all where the bucket was never compared."""
    rounds, snapshots, drift = SNAPSHOT_ROUNDS.c, SNAPSHOTS.c, DRIFT.c
    with replica.engine.connect() as connection:
        since = connection.scalar(sa.select(sa.func.max(rounds.started_at)).where(rounds.bucket == bucket))
        if since is None:
            return DriftFinding(0, 0, {})
        compared = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(snapshots.records), 0))
        fids, records = connection.execute(
            compared.where(snapshots.bucket == bucket, snapshots.folded_at >= since)
        ).one()
        found = sa.select(drift.table_name, sa.func.count()).where(drift.bucket == bucket, drift.found_at >= since)
        rows = connection.execute(found.group_by(drift.table_name).order_by(drift.table_name))
        return DriftFinding(fids, int(records), {row[0]: row[1] for row in rows})


def next_buckets(replica: Replica, days: int) -> range:
    """The adjacent buckets of a day such that in so many days all have had their turn: from the one that waits longest.

    A bucket has had its turn when a round over all of its users was finished.
    """
    rounds = SNAPSHOT_ROUNDS.c
    query = sa.select(rounds.bucket, sa.func.max(rounds.started_at))
    finished = query.where(rounds.scope == ALL_FIDS, rounds.finished_at.is_not(None)).group_by(rounds.bucket)
    with replica.engine.connect() as connection:
        last: dict[int, datetime] = {row[0]: row[1] for row in connection.execute(finished)}
    first = min(range(BUCKETS), key=lambda bucket: (last.get(bucket, _NEVER), bucket))
    return range(first, min(BUCKETS, first + math.ceil(BUCKETS / days)))
