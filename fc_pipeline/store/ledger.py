"""The coverage ledger: which heights are folded, where the holes are, and the leases of the writers.

Statements with `$1` belong to a micro-batch's own transaction (FoldSession); the functions read and prepare through
SQLAlchemy.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.heights import HeightRange
from fc_pipeline.store import advisory_locks, covered_heights
from fc_pipeline.store.bookkeeping import COVERAGE, HOUR_ROWS, NO_OVERLAP, SHARDS
from fc_pipeline.store.query import query_of

__all__ = [
    "COVER",
    "OVERLAP_SQLSTATES",
    "RENEW_LEASE",
    "TOTALS",
    "NewlyWritten",
    "ShardOrigin",
    "add_tables",
    "covered",
    "covered_partitions",
    "covered_shards",
    "first_covered",
    "forget_table",
    "is_covered",
    "last_block_hash",
    "last_commit",
    "last_covered",
    "line_of",
    "newest_partition",
    "origins",
    "partitions_of",
    "partitions_written_since",
    "record_origin",
    "shard_count",
    "unfinished_partitions",
]

OVERLAP_SQLSTATES = ("23P01", "23505")
"""exclusion_violation and unique_violation: the heights are in the ledger already."""

RENEW_LEASE = (
    "UPDATE pipeline.leases SET heartbeat_at = clock_timestamp() "
    "WHERE shard = $1::integer AND partition = $2 AND holder = $3 RETURNING shard"
)
"""The fence: no row means that another run has the lease now."""

TOTALS: Final = {
    name: f"${number}::{'double precision' if name == 'postgres_seconds' else 'bigint'}"
    for number, name in enumerate(
        (
            "events_with_rows",
            "events_written",
            "events_without_rows",
            "events_filtered",
            "events_quarantined",
            "quarantined",
            "micro_batches",
            "bytes",
            "naive_rows",
            "rows_filtered",
            "postgres_seconds",
        ),
        start=12,
    )
}
"""Columns of a line that add up over its micro-batches, and the parameters of COVER that they come from."""

COVER = (
    "WITH extended AS (UPDATE pipeline.coverage SET to_height = $3::bigint, events = events + $7::bigint, "
    "confirmed_events = confirmed_events + $8::bigint, rows_written = rows_written + $9::bigint, "
    "last_block_at = to_timestamp($10::bigint), last_block_hash = decode(nullif($11, ''), 'hex'), "
    f"committed_at = now(), {', '.join(f'{name} = {name} + {value}' for name, value in TOTALS.items())} "
    "WHERE shard = $1::integer AND to_height = $2::bigint - 1 AND tables = string_to_array($4, ',') "
    "AND partition = $5 AND run_id = $6 RETURNING shard) "
    "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
    f"confirmed_events, rows_written, last_block_at, last_block_hash, {', '.join(TOTALS)}) "
    "SELECT $1::integer, $2::bigint, $3::bigint, string_to_array($4, ','), $5, $6, $7::bigint, $8::bigint, "
    f"$9::bigint, to_timestamp($10::bigint), decode(nullif($11, ''), 'hex'), {', '.join(TOTALS.values())} "
    "WHERE NOT EXISTS (SELECT FROM extended)"
)
"""Extend the run's own line where the heights follow on, else begin one: a line per run and hour, not per second."""


@dataclass(frozen=True, slots=True)
class NewlyWritten:
    """Events that have rows in tables which their heights were not written to before, and those that changed some."""

    with_rows: int = 0
    written: int = 0

    def __add__(self, other: "NewlyWritten") -> "NewlyWritten":
        return NewlyWritten(self.with_rows + other.with_rows, self.written + other.written)


@dataclass(frozen=True, slots=True)
class ShardOrigin:
    """The origin of a shard's replica, and how many shards the network had then."""

    shard: int
    height: int
    at: datetime
    shard_count: int


def origins(connection: sa.Connection) -> dict[int, ShardOrigin]:
    """The recorded origin of every shard; empty before the first contact with a hub."""
    rows = connection.execute(sa.select(SHARDS).order_by(SHARDS.c.shard))
    return {row.shard: ShardOrigin(row.shard, row.origin_height, row.origin_at, row.shard_count) for row in rows}


def shard_count(connection: sa.Connection) -> int | None:
    """How many data shards the network has; None before the first contact with a hub."""
    return connection.scalar(sa.select(sa.func.max(SHARDS.c.shard_count)))


def record_origin(connection: sa.Connection, origin: ShardOrigin) -> None:
    """Record where a shard begins, or move it to an earlier height; it never moves to a later one."""
    insert = pg.insert(SHARDS).values(
        shard=origin.shard, origin_height=origin.height, origin_at=origin.at, shard_count=origin.shard_count
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[SHARDS.c.shard],
            set_={"origin_height": insert.excluded.origin_height, "origin_at": insert.excluded.origin_at},
            where=insert.excluded.origin_height < SHARDS.c.origin_height,
        )
    )


def covered(
    connection: sa.Connection, shard: int, *, partition: str | None = None, tables: Sequence[str] = ()
) -> list[HeightRange]:
    """Folded ranges of a shard in ascending order that were written to all of `tables`.

    Of an hour those of its lines, of all hours as few as there are holes.
    """
    if partition is None:
        return covered_heights.ranges(query_of(connection), shard, tables)
    columns = COVERAGE.c
    query = sa.select(columns.from_height, columns.to_height).where(
        columns.shard == shard, columns.partition == partition
    )
    if tables:
        query = query.where(COVERAGE.c.tables.contains(list(tables)))
    return [HeightRange(*row) for row in connection.execute(query.order_by(COVERAGE.c.from_height))]


def covered_shards(connection: sa.Connection, partition: str) -> set[int]:
    """The shards with folded heights in an hour."""
    query = sa.select(COVERAGE.c.shard).distinct().where(COVERAGE.c.partition == partition)
    return set(connection.scalars(query))


def last_block_hash(connection: sa.Connection, shard: int, up_to_height: int) -> tuple[int, bytes] | None:
    """The highest block up to a height of which the ledger knows the hash, and the hash."""
    row = connection.execute(
        sa.select(COVERAGE.c.to_height, COVERAGE.c.last_block_hash)
        .where(
            COVERAGE.c.shard == shard,
            COVERAGE.c.from_height <= up_to_height,
            COVERAGE.c.to_height <= up_to_height,
            COVERAGE.c.last_block_hash.is_not(None),
        )
        .order_by(COVERAGE.c.from_height.desc())  # as by to_height, for lines do not overlap; this one has an index
        .limit(1)
    ).one_or_none()
    return (row.to_height, row.last_block_hash) if row else None


def unfinished_partitions(connection: sa.Connection, tables: Sequence[str]) -> list[str]:
    """The partitions with folded heights that were not written to all of `tables`."""
    return list(connection.scalars(_UNFINISHED, {"tables": list(tables)}))


# No line is read where, as nearly always, there is none.
_UNFINISHED: Final = sa.text(
    "SELECT DISTINCT partition FROM pipeline.coverage WHERE NOT tables @> CAST(:tables AS text[]) "
    "AND EXISTS (SELECT FROM pipeline.covered_heights WHERE NOT tables @> CAST(:tables AS text[])) ORDER BY 1"
)


def forget_table(connection: sa.Connection, table: str) -> None:
    """Note that nothing was written to a table: it was lost and rebuilt."""
    connection.execute(
        sa.update(COVERAGE)
        .where(COVERAGE.c.tables.contains([table]))
        .values(tables=sa.func.array_remove(COVERAGE.c.tables, table))
    )
    connection.execute(sa.delete(HOUR_ROWS).where(HOUR_ROWS.c.table_name == table))


def note_derived(connection: sa.Connection, table: str, sources: Collection[str]) -> None:
    """Note that a table has everything of the heights that were written to all tables which it is derived from."""
    connection.execute(
        sa.update(COVERAGE)
        .where(COVERAGE.c.tables.contains(list(sources)), sa.not_(COVERAGE.c.tables.contains([table])))
        .values(tables=sa.func.array_append(COVERAGE.c.tables, table))
    )


def is_covered(connection: sa.Connection, shard: int, height: int) -> bool:
    """Whether one height is folded."""
    return line_of(connection, shard, height) is not None


def covered_partitions(connection: sa.Connection, *, within: tuple[str, str] | None = None) -> set[str]:
    """The partition keys of all hours with folded heights, or of those from the first to the last of two."""
    query = sa.select(COVERAGE.c.partition).distinct()
    return set(connection.scalars(query if within is None else query.where(COVERAGE.c.partition.between(*within))))


def partitions_written_since(connection: sa.Connection, seconds: float) -> set[str]:
    """The partition keys of the hours that were folded to in the last seconds, by Postgres' clock."""
    since = sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    return set(connection.scalars(sa.select(COVERAGE.c.partition).distinct().where(COVERAGE.c.committed_at > since)))


def partitions_of(connection: sa.Connection, shard: int, heights: HeightRange) -> list[str]:
    """The partition keys of the hours that hold these heights, as far as they are folded."""
    values = {"shard": shard, "first": heights.first, "last": heights.last}
    return list(connection.scalars(_PARTITIONS_OF, values))


# The range of the constraint that forbids overlaps: its index finds the lines, however many lie before them.
_PARTITIONS_OF: Final = sa.text(
    f"SELECT DISTINCT partition FROM pipeline.coverage WHERE {NO_OVERLAP} "
    "&& int8range((CAST(:shard AS bigint) << 50) + :first, (CAST(:shard AS bigint) << 50) + :last, '[]') ORDER BY 1"
)


def add_tables(
    connection: sa.Connection,
    shard: int,
    partition: str,
    up_to_height: int,
    tables: Sequence[str],
    newly_written: Mapping[int, NewlyWritten] | None = None,
) -> None:
    """Note that an hour's lines up to a height were written to more tables.

    `newly_written` says by a line's first height what became of its events in these: they count as filtered no more.
    Holds the shard until commit.
    """
    lines = sa.select(COVERAGE.c.from_height, COVERAGE.c.to_height).where(
        COVERAGE.c.shard == shard, COVERAGE.c.partition == partition, COVERAGE.c.to_height <= up_to_height
    )
    connection.execute(_HOLD_SHARD, {"shard": shard})  # no line is joined to another one meanwhile
    for first, last in connection.execute(lines).all():
        # Lines may have been joined since.
        news = sum((n for at, n in (newly_written or {}).items() if first <= at <= last), NewlyWritten())
        values = {"s": shard, "f": first, "h": up_to_height, "tables": list(tables)}
        connection.execute(_ADD_TABLES, {**values, "rows": news.with_rows, "written": news.written})


_HOLD_SHARD: Final = sa.text(advisory_locks.shard(":shard").until_commit())
_ADD_TABLES = sa.text(
    "UPDATE pipeline.coverage SET tables = (SELECT array_agg(DISTINCT name ORDER BY name) "
    "FROM unnest(tables || CAST(:tables AS text[])) AS name), "
    # A table that was lost was counted before, when it was filled at first.
    "events_with_rows = events_with_rows + least(:rows, events_filtered), "
    "events_written = events_written + least(:written, events_filtered), "
    "events_filtered = events_filtered - least(:rows, events_filtered) "
    "WHERE shard = :s AND from_height = :f AND to_height <= :h AND NOT tables @> CAST(:tables AS text[])"
)


def line_of(connection: sa.Connection, shard: int, height: int) -> tuple[str, int] | None:
    """The partition key of the line that holds a height, and the line's first height; None if it is not folded."""
    columns = COVERAGE.c
    query = sa.select(columns.partition, columns.from_height, columns.to_height).where(
        columns.shard == shard, columns.from_height <= height
    )
    row = connection.execute(query.order_by(columns.from_height.desc()).limit(1)).one_or_none()
    return (row.partition, row.from_height) if row and row.to_height >= height else None


def newest_partition(connection: sa.Connection) -> str | None:
    """The partition key of the newest hour with folded heights; None if nothing is folded."""
    return connection.scalar(sa.select(sa.func.max(COVERAGE.c.partition)))


def first_covered(connection: sa.Connection, shard: int) -> tuple[int, str] | None:
    """The lowest folded height of a shard and its hour's partition key; None if nothing is folded."""
    query = sa.select(COVERAGE.c.from_height, COVERAGE.c.partition).where(COVERAGE.c.shard == shard)
    row = connection.execute(query.order_by(COVERAGE.c.from_height).limit(1)).one_or_none()
    return (row.from_height, row.partition) if row else None


def last_commit(connection: sa.Connection, shard: int) -> tuple[int, float] | None:
    """The highest folded height of a shard and how many seconds ago, by Postgres' clock, its line was written."""
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - COVERAGE.c.committed_at)
    query = sa.select(COVERAGE.c.to_height, age).where(COVERAGE.c.shard == shard)
    row = connection.execute(query.order_by(COVERAGE.c.from_height.desc()).limit(1)).one_or_none()
    return (row[0], float(row[1])) if row else None


def last_covered(
    connection: sa.Connection, shard: int, *, from_at_most: int | None = None
) -> tuple[int, datetime] | None:
    """The highest folded height of a shard and its block's time; None if nothing is folded.

    With `from_at_most`, that of the highest range that begins at this height or below.
    """
    query = sa.select(COVERAGE.c.to_height, COVERAGE.c.last_block_at).where(COVERAGE.c.shard == shard)
    if from_at_most is not None:
        query = query.where(COVERAGE.c.from_height <= from_at_most)
    row = connection.execute(query.order_by(COVERAGE.c.from_height.desc()).limit(1)).one_or_none()
    return (row.to_height, row.last_block_at.astimezone(UTC)) if row else None
