"""The wrong rows that comparisons with the hub found and no later comparison cleared, by bucket."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from fc_pipeline.replica import Replica
from fc_pipeline.store.snapshot_ledger import ALL_FIDS

__all__ = ["BucketDrift", "drift_by_bucket"]

MAX_FIDS: Final = 20

# `folded_at` and `found_at` are of one transaction where a comparison found something: the next one over the same user
# updates `folded_at`. Users no longer compared, such as former targets, are cleared by the next round over the bucket.
_OPEN_DRIFT: Final = sa.text(f"""
    WITH rounds AS (
      SELECT bucket, max(started_at) FILTER (WHERE finished_at IS NOT NULL AND scope = '{ALL_FIDS}') AS last_round
      FROM pipeline.snapshot_rounds GROUP BY bucket),
    open AS (
      SELECT d.* FROM pipeline.drift AS d
      LEFT JOIN pipeline.snapshots AS s USING (fid)
      LEFT JOIN rounds AS r ON r.bucket = d.bucket
      WHERE NOT coalesce(s.folded_at > d.found_at, false) AND NOT coalesce(r.last_round > d.found_at, false))
    SELECT bucket, table_name, count(*) AS rows, min(found_at) AS first_found, max(found_at) AS last_found,
      (array_agg(DISTINCT fid ORDER BY fid))[1:{MAX_FIDS}] AS fids
    FROM open GROUP BY bucket, table_name ORDER BY bucket, table_name
""")
_COMPARED: Final = sa.text(
    "SELECT bucket, count(*) AS fids, coalesce(sum(records), 0)::bigint AS records, max(folded_at) AS compared_at "
    "FROM pipeline.snapshots WHERE folded_at IS NOT NULL GROUP BY bucket ORDER BY bucket"
)


@dataclass(frozen=True)
class BucketDrift:
    """Of one bucket: users and records compared, when last, and what is wrong and not cleared, by table."""

    bucket: int
    fids: int
    records: int
    compared_at: datetime | None
    rows_by_table: Mapping[str, int] = field(default_factory=dict[str, int])
    drifted_fids: tuple[int, ...] = ()
    first_found: datetime | None = None

    @property
    def rows(self) -> int:
        """Wrong rows of all tables."""
        return sum(self.rows_by_table.values())

    @property
    def share(self) -> float:
        """Wrong rows as a share of the records compared, 0 to 1."""
        return min(1.0, self.rows / self.records) if self.records else float(self.rows > 0)


def drift_by_bucket(replica: Replica) -> list[BucketDrift]:
    """Every bucket that was ever compared, the one with the most wrong rows first."""
    with replica.engine.connect() as connection:
        compared = {row.bucket: row for row in connection.execute(_COMPARED)}
        found = connection.execute(_OPEN_DRIFT).all()
    buckets: list[BucketDrift] = []
    for bucket in compared.keys() | {row.bucket for row in found}:
        own = [row for row in found if row.bucket == bucket]
        line = compared.get(bucket)
        buckets.append(
            BucketDrift(
                bucket,
                line.fids if line is not None else 0,
                line.records if line is not None else 0,
                line.compared_at if line is not None else None,
                {row.table_name: row.rows for row in own},
                tuple(sorted({fid for row in own for fid in row.fids})[:MAX_FIDS]),
                min((row.first_found for row in own), default=None),
            )
        )
    return sorted(buckets, key=lambda one: (-one.rows, one.bucket))
