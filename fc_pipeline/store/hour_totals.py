"""The totals of an hour: its events by outcome, and what folding it for the first time wrote to each table.

The coverage ledger adds up events per line, `pipeline.hour_rows` rows per table. Both are written in the transaction
that folds, so they are right whatever run is cut short, and folding an hour again adds nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final, Protocol

import sqlalchemy as sa

from fc_pipeline.store.bookkeeping import COVERAGE, HOUR_ROWS

__all__ = [
    "ADD_ACTIVITY_ROWS",
    "ADD_FIRST_ROWS",
    "ADD_ROWS",
    "ALL_SHARDS",
    "EventTotals",
    "HourTotals",
    "RowTotals",
    "row_parameters",
    "totals_of_hour",
]

ALL_SHARDS: Final = 0
"""The shard of rows that are counted for all shards together; data shards begin at 1."""

_INSERT: Final = (
    "INSERT INTO pipeline.hour_rows AS t (partition, table_name, shard, rows_inserted, rows_updated, rows_deleted) "
    "SELECT $1, w.name, $2::integer, w.inserted, w.updated, w.deleted FROM unnest(string_to_array($3, ','), "
    "string_to_array($4, ',')::bigint[], string_to_array($5, ',')::bigint[], string_to_array($6, ',')::bigint[]) "
    "AS w (name, inserted, updated, deleted) "
)
_ADD: Final = (
    "ON CONFLICT (partition, table_name, shard) DO UPDATE SET "
    "rows_inserted = t.rows_inserted + excluded.rows_inserted, rows_updated = t.rows_updated + excluded.rows_updated, "
    "rows_deleted = t.rows_deleted + excluded.rows_deleted"
)
_NOT_YET: Final = (
    "SELECT FROM pipeline.coverage AS c WHERE c.partition = $1 AND NOT c.tables @> ARRAY[w.name] "  # `tables`: written
)

ADD_ROWS: Final = f"{_INSERT}{_ADD}"
"""Rows that folding new heights wrote."""
ADD_FIRST_ROWS: Final = (
    f"{_INSERT}WHERE EXISTS ({_NOT_YET}AND c.shard = $2::integer AND c.from_height <= $8::bigint "
    f"AND c.to_height >= $7::bigint) {_ADD}"
)
"""Rows that folding heights $7 to $8 again wrote, of tables that these were not written to before."""
ADD_ACTIVITY_ROWS: Final = f"{_INSERT}WHERE EXISTS ({_NOT_YET}) {_ADD}"
"""Rows that counting an hour again wrote, of a table that some of it was not written to before."""


class _Rows(Protocol):
    @property
    def inserted(self) -> int: ...
    @property
    def updated(self) -> int: ...
    @property
    def deleted(self) -> int: ...


def row_parameters(partition: str, shard: int, written: Mapping[str, _Rows]) -> tuple[Any, ...]:
    """What these statements take, but for heights."""

    def listed(values: Iterable[int]) -> str:
        return ",".join(str(value) for value in values)

    rows = list(written.values())
    return (
        partition,
        shard,
        ",".join(written),
        listed(one.inserted for one in rows),
        listed(one.updated for one in rows),
        listed(one.deleted for one in rows),
    )


@dataclass(frozen=True, slots=True)
class RowTotals:
    """Rows of one table that an hour inserted, updated, or turned into tombstones."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def rows(self) -> int:
        """All rows written."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True, slots=True)
class EventTotals:
    """An hour's events by outcome, each counted once, and the duration of folding them."""

    with_rows: int
    written: int
    without_rows: int
    filtered: int
    quarantined: int
    records_quarantined: int
    micro_batches: int
    size_bytes: int
    naive_rows: int
    rows_filtered: int
    postgres_seconds: float

    @property
    def unchanged(self) -> int:
        """Events whose rows were in the tables already, or decided by later events."""
        return self.with_rows - self.written

    @property
    def accounted(self) -> int:
        """Events with a known outcome."""
        return self.with_rows + self.without_rows + self.filtered + self.quarantined


@dataclass(frozen=True, slots=True)
class HourTotals:
    """All that was folded of an hour so far; heights and times are per shard, inclusive and in unix seconds.

    `outcome` and `rows` are None where an earlier release, which did not keep them, folded some of the hour.
    `committed_unix` says when the newest block of a shard was committed.
    """

    events: int = 0
    heights: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    last_block_unix: dict[int, float] = field(default_factory=dict[int, float])
    committed_unix: dict[int, float] = field(default_factory=dict[int, float])
    outcome: EventTotals | None = None
    rows: dict[str, RowTotals] | None = None


def totals_of_hour(connection: sa.Connection, partition: str) -> HourTotals:
    """What the ledger has of an hour; nothing folded gives zeros."""
    columns = COVERAGE.c
    query = sa.select(COVERAGE).where(columns.partition == partition).order_by(columns.shard, columns.from_height)
    lines = connection.execute(query).all()
    totals = HourTotals(sum(line.events for line in lines))
    for line in lines:
        first, _ = totals.heights.get(line.shard, (line.from_height, line.to_height))
        totals.heights[line.shard] = (first, line.to_height)
        totals.last_block_unix[line.shard] = line.last_block_at.astimezone(UTC).timestamp()
        totals.committed_unix[line.shard] = line.committed_at.astimezone(UTC).timestamp()
    if any(line.events_with_rows is None for line in lines):
        return totals

    def total(name: str) -> Any:
        return sum(getattr(line, name) for line in lines)

    outcome = EventTotals(
        with_rows=total("events_with_rows"),
        written=total("events_written"),
        without_rows=total("events_without_rows"),
        filtered=total("events_filtered"),
        quarantined=total("events_quarantined"),
        records_quarantined=total("quarantined"),
        micro_batches=total("micro_batches"),
        size_bytes=total("bytes"),
        naive_rows=total("naive_rows"),
        rows_filtered=total("rows_filtered"),
        postgres_seconds=float(total("postgres_seconds")),
    )
    return HourTotals(
        totals.events,
        totals.heights,
        totals.last_block_unix,
        totals.committed_unix,
        outcome,
        _rows(connection, partition),
    )


def _rows(connection: sa.Connection, partition: str) -> dict[str, RowTotals]:
    columns = HOUR_ROWS.c
    sums = [sa.func.sum(one) for one in (columns.rows_inserted, columns.rows_updated, columns.rows_deleted)]
    query = sa.select(columns.table_name, *sums).where(columns.partition == partition).group_by(columns.table_name)
    return {name: RowTotals(int(i), int(u), int(d)) for name, i, u, d in connection.execute(query)}
