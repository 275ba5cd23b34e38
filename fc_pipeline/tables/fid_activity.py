"""`fid_activity`: what each FID did and received in an hour, counted from the raw log in Arrow."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index

__all__ = ["ACTIVITY_COUNTS", "FID_ACTIVITY", "count_activity", "sum_activity"]

ACTIVITY_COUNTS: Final = {
    "casts": "Casts made, replies included",
    "replies": "Casts made in reply to a cast",
    "casts_removed": "Casts removed by their author",
    "likes": "Likes given",
    "recasts": "Recasts made",
    "follows": "Follows",
    "unfollows": "Unfollows",
    "likes_received": "Likes of casts of this FID",
    "recasts_received": "Recasts of casts of this FID",
    "replies_received": "Replies to casts of this FID",
    "follows_received": "New followers",
}

FID_ACTIVITY = DataTable(
    name="fid_activity",
    group="activity",
    description="What each FID did and received, per hour of block time.",
    sql_example=(
        "SELECT hour, sum(casts) AS casts, sum(likes) AS likes, count(*) AS users\n"
        "FROM fid_activity WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 1 DESC LIMIT 24;"
    ),
    key=("hour", "fid"),
    columns=(
        Column("hour", ColumnType.TIMESTAMP, "Start of the hour, UTC", nullable=False),
        Column("fid", ColumnType.BIGINT, "The user", nullable=False),
        *(Column(name, ColumnType.BIGINT, text, nullable=False) for name, text in ACTIVITY_COUNTS.items()),
    ),
    indexes=(Index(("fid", "hour"), serves="a user's hours: `api.user_statistics`"),),
    is_large=True,
    fillfactor=70,
    comparison=Comparison.NONE,
    # Each micro-batch adds to rows of the running hour: in their place, as long as no index has what changes.
    is_read_by_change=False,
)


def count_activity(merged: Mapping[str, pa.Table], hour_micros: int) -> pa.Table:
    """Rows of casts, reactions and links as they were merged → rows of `fid_activity` (its Arrow schema).

    `merged` holds every merge, before the last per key is taken: deletions other than `removed` do not count, and one
    message merged twice counts twice, as the raw log has it. `hour_micros` is the start of their hour.
    """
    credited = [_credited(merged[table], fid, count, mask) for table, fid, count, mask in _COUNTS if table in merged]
    rows = pa.concat_tables([_NONE, *credited])
    return sum_activity(rows.append_column("hour", pa.repeat(pa.scalar(hour_micros, _TIME), len(rows))))


def sum_activity(rows: pa.Table) -> pa.Table:
    """Counts in several rows per hour and FID → one row each (Arrow schema of `fid_activity`)."""
    # Threads cost more than they save on the rows of a micro-batch.
    sums = rows.group_by(["hour", "fid"], use_threads=False).aggregate(
        [*((name, "sum") for name in ACTIVITY_COUNTS), ("version", "max")]
    )
    summed = sums.rename_columns(["hour", "fid", *ACTIVITY_COUNTS, "version"])
    live = summed.append_column("deleted_at", pa.nulls(len(summed), _TIME))
    return live.select(list(FID_ACTIVITY.names)).cast(FID_ACTIVITY.arrow_schema)


_TIME = pa.timestamp("us", tz="UTC")

# Not `empty_table`: it would import pandas, a third of a second in every command.
_NONE = pa.Table.from_batches([], pa.schema([(name, pa.int64()) for name in ("fid", "version", *ACTIVITY_COUNTS)]))

_Mask = Callable[[pa.Table], Any]
"""Rows → a boolean array: which of them."""


def _live(rows: pa.Table) -> Any:
    return pc.is_null(rows["deleted_at"])


def _removed(rows: pa.Table) -> Any:
    return pc.equal(rows["deleted_reason"], pa.scalar("removed"))


def _replied(rows: pa.Table) -> Any:
    return pc.and_(_live(rows), pc.is_valid(rows["parent_hash"]))


def _of_type(is_so: _Mask, kind: str) -> _Mask:
    return lambda rows: pc.and_(is_so(rows), pc.equal(rows["type"], pa.scalar(kind)))


# table, column of the FID that is credited, count, which rows
_COUNTS: tuple[tuple[str, str, str, _Mask], ...] = (
    ("casts", "fid", "casts", _live),
    ("casts", "fid", "replies", _replied),
    ("casts", "parent_fid", "replies_received", _replied),
    ("casts", "fid", "casts_removed", _removed),
    ("reactions", "fid", "likes", _of_type(_live, "like")),
    ("reactions", "target_fid", "likes_received", _of_type(_live, "like")),
    ("reactions", "fid", "recasts", _of_type(_live, "recast")),
    ("reactions", "target_fid", "recasts_received", _of_type(_live, "recast")),
    ("links", "fid", "follows", _of_type(_live, "follow")),
    ("links", "target_fid", "follows_received", _of_type(_live, "follow")),
    ("links", "fid", "unfollows", _of_type(_removed, "follow")),
)


def _credited(rows: pa.Table, fid: str, count: str, mask: _Mask) -> pa.Table:
    """The chosen rows as counts of 1 for the FID that is credited, the other counts 0."""
    chosen = rows.select([fid, "version"]).filter(mask(rows)).drop_null()
    one, zero = (pa.repeat(pa.scalar(number, pa.int64()), len(chosen)) for number in (1, 0))
    columns = [one if name == count else zero for name in ACTIVITY_COUNTS]
    return pa.Table.from_arrays([chosen[fid], chosen["version"], *columns], schema=_NONE.schema)
