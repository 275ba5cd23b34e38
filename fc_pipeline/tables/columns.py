"""How a table is declared: once, for its DDL, Arrow schema, merge statement, UI column schema and documentation."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.tables.storage_parameters import set_when_made, storage_parameters

__all__ = [
    "BY_VERSION",
    "CHANGED_AT",
    "LIVENESS",
    "METADATA",
    "STAMPS",
    "ArrowArray",
    "Column",
    "ColumnType",
    "Comparison",
    "DataTable",
    "Index",
    "KeyedFid",
    "Row",
    "by_address_bytes",
    "by_integer_fid",
    "by_utc",
]

METADATA = sa.MetaData()
"""Every table of the pipeline, data and bookkeeping, for DDL and migrations."""

ArrowArray: TypeAlias = "pa.Array[Any]"

Row = tuple[Any, ...]
"""One row in the order of its table's columns; times are unix microseconds, as Arrow takes them."""


class ColumnType(Enum):
    """A column's type in Arrow, in the staging table that COPY fills, and in Postgres."""

    BIGINT = (pa.int64(), "bigint", sa.BigInteger())
    INTEGER = (pa.int32(), "integer", sa.Integer())
    TEXT = (pa.string(), "text", sa.Text())
    BYTEA = (pa.binary(), "bytea", pg.BYTEA())
    TIMESTAMP = (pa.timestamp("us", tz="UTC"), "timestamptz", sa.DateTime(timezone=True))
    # COPY writes Arrow strings as text; the merge casts them.
    JSONB = (pa.string(), "text", pg.JSONB())
    BOOLEAN = (pa.bool_(), "boolean", sa.Boolean())
    BIGINTS = (pa.list_(pa.int64()), "bigint[]", pg.ARRAY(sa.BigInteger()))
    INTEGERS = (pa.list_(pa.int32()), "integer[]", pg.ARRAY(sa.Integer()))
    TEXTS = (pa.list_(pa.string()), "text[]", pg.ARRAY(sa.Text()))

    def __init__(self, arrow: pa.DataType, staging: str, sql: sa.types.TypeEngine[Any]) -> None:
        self.arrow = arrow
        self.staging = staging
        self.sql = sql

    @property
    def postgres(self) -> str:
        """The type's name in Postgres."""
        return str(self.sql.compile(dialect=pg.dialect())).lower()  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True)
class Column:
    """One column; its description ends up in Postgres comments, the Dagster UI and docs/tables.md.

    `lookup` is SQL for what no message says: it is looked up in another table as `{row}` is written or compared.
    """

    name: str
    type: ColumnType
    description: str
    nullable: bool = True
    lookup: str | None = None

    def value_of(self, row: str) -> str:
        """SQL for what the table gets of a staged row, whose JSON is text."""
        if self.lookup:
            return self.lookup.format(row=row)
        return f"{row}.{self.name}::jsonb" if self.type is ColumnType.JSONB else f"{row}.{self.name}"


@dataclass(frozen=True)
class Index:
    """A secondary index; `where` makes it partial, so that rows without the value cost nothing.

    `of_pages` makes it one of ranges per stretch of pages (BRIN): it costs next to nothing, and finds what was written
    lately, for rows lie about in the order in which they were written. `of_words` makes it one of the words of a
    tsvector (GIN). `expressions` are SQL, indexed in place of the columns, which then only name the index; `operators`
    is their class, if not the default. `serves` is the query for which it is there. One that `is_made_later` only
    readers need: a new replica gets it when it has caught up (store.later_indexes).
    """

    columns: tuple[str, ...]
    where: str | None = None
    of_pages: bool = False
    of_words: bool = False
    expressions: tuple[str, ...] | None = None
    operators: str | None = None
    serves: str = ""
    is_made_later: bool = False

    @property
    def method(self) -> str:
        """Postgres' name for its kind."""
        return "brin" if self.of_pages else "gin" if self.of_words else "btree"


def by_utc(column: str) -> Index:
    """Of a time as the views of schemas `neynar` and `dune` have it: without time zone."""
    return Index(
        (column,),
        of_pages=True,
        expressions=(f"timezone('UTC', \"{column}\")",),
        serves=f"`{column}` in schemas `neynar` and `dune`",
        is_made_later=True,
    )


def by_address_bytes(column: str, view: str) -> Index:
    """Of an address as the views of schemas `neynar` and `dune` have it: its bytes, not its text."""
    return Index(
        (f"{column}_bytes",),
        expressions=(f"pipeline.address_bytes({column})",),
        serves=f"`{column}` of `{view}`",
        is_made_later=True,
    )


def by_integer_fid(view: str) -> Index:
    """Of the FID as a view of schema `neynar` has it that shows it as an integer."""
    return Index(
        ("integer_fid",),
        expressions=("pipeline.integer_of(fid)",),
        serves=f"`fid` of `neynar.{view}`",
        is_made_later=True,
    )


class Comparison(Enum):
    """What holds a table's rows against a snapshot of an FID (reconcile)."""

    NONE = "none"
    MESSAGES = "the FID's messages: its rows are these, and never of another FID"
    NAMES = "the FID's names: a row passes from one FID to another, by the time of its proof"
    CONTRACT_EVENTS = "the FID's contract events: nothing ever changes one"
    KEYS = "the FID's gasless keys, of which no event tells: a row that is not listed is closed"
    DERIVED = "what the tables that it is derived from say"


@dataclass(frozen=True)
class KeyedFid:
    """An FID that tombstones have in their key alone: from the key's values in Arrow, and of a row `t` in SQL."""

    column: str
    key: str
    in_arrow: Callable[["pa.ChunkedArray[Any]"], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
    in_sql: str


VERSION = Column(
    "version", ColumnType.BIGINT, "Id of the event (or head of the snapshot) that last decided this row", nullable=False
)
DELETED_AT = Column("deleted_at", ColumnType.TIMESTAMP, "When the row was deleted; null means live")
BY_VERSION = Index(
    ("version",),
    of_pages=True,
    # Several ranges for each stretch: a row that was changed may lie among old ones.
    operators="int8_minmax_multi_ops",
    serves="the rows that some hours decided, which checks compare",
)
"""Finds the rows that some hours decided, without reading a table of years through."""

UPDATED_AT = Column(
    "updated_at", ColumnType.TIMESTAMP, "When the transaction began that last changed this row here", nullable=False
)
CHANGE_ID = Column(
    "change_id",
    ColumnType.BIGINT,
    "Id of the transaction that last changed this row here; api.changes_since reads on from one",
    nullable=False,
)
CHANGED_AT = Column("changed_at", ColumnType.TIMESTAMP, UPDATED_AT.description, nullable=False)
"""In place of `updated_at` where that says something else."""
STAMPS = (UPDATED_AT, CHANGE_ID)
"""Columns that the database sets itself (store.change_stamps): no event says them."""
BY_CHANGE = Index(("change_id",), serves="`api.changes_since`", is_made_later=True)
"""Finds what has changed since a reader last asked."""
_STAMP_DEFAULTS = {"updated_at": "now()", "changed_at": "now()", "change_id": "txid_current()"}


def _expression(sql: str) -> Any:
    """As an index takes it: a name for its operators, written as it is."""
    return sa.literal_column(sql)


LIVENESS = ("deleted_at", "timezone('UTC', deleted_at)")
"""Of how many rows are live, as the views of schemas `neynar` and `dune` say it."""


@dataclass(frozen=True)
class DataTable:
    """A table that the fold writes.

    `columns` leaves out `version` and `deleted_at`, which every table has, and the STAMPS, which the database sets.
    `order` names the columns that decide which
    of two rows of one key wins, higher first; all but `username_proofs` go by `version`. `fillfactor` leaves room in
    each page, in percent, so that an update stays there and touches no index. `is_large` is a table that gets a row
    for much of what users do, hundreds of millions on the whole network: autovacuum comes to it in small shares of its
    rows. `concerns` names the columns with the
    FIDs for whose sake a row is kept where only targets are replicated, `keyed_fid` the one that tombstones have in
    their key alone. Rows of a table that concerns none are kept for all users, and so are those that have, in the
    column of `kept_for_all`, its value. `is_of_one_shard`: every shard's feed has the same messages in the same order,
    and only those of the first one count, for ids of different shards cannot be compared (protocol-tables 0).
    `decisive_tombstones` is a reason of deletion whose tombstones decide over rows that may still come, and so are kept
    for all users. `is_compacted`: link_compactions mask its rows. `is_read_by_change`: what has changed lately is found
    by an index, which makes every update write all indexes. `statistics` names expressions of views about whose values
    the planner is told, for it would guess that few rows are live. `group` is that of the table's asset, `sql_example`
    a query to begin with, shown on its page.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()
    order: tuple[str, ...] = ("version",)
    schema: str = "public"
    group: str = "message_sets"
    sql_example: str = ""
    fillfactor: int = 100
    is_large: bool = False
    concerns: tuple[str, ...] = ("fid",)
    keyed_fid: KeyedFid | None = None
    kept_for_all: tuple[str, str] | None = None
    decisive_tombstones: str | None = None
    is_compacted: bool = False
    is_read_by_change: bool = True
    statistics: tuple[tuple[str, str], ...] = ()
    is_of_one_shard: bool = False
    comparison: Comparison = Comparison.MESSAGES
    sql: sa.Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", (*self.columns, VERSION, DELETED_AT))
        if self.is_read_by_version:
            object.__setattr__(self, "indexes", (*self.indexes, BY_VERSION))
        if self.is_read_by_change:
            object.__setattr__(self, "indexes", (*self.indexes, BY_CHANGE))
        object.__setattr__(self, "sql", self._declare())

    def _declare(self) -> sa.Table:
        table = sa.Table(
            self.name,
            METADATA,
            *(self._declare_column(column) for column in self.columns),
            *(self._declare_stamp(column) for column in self.stamps),
            *(self._declare_index(index) for index in self.indexes if not index.is_made_later),
            comment=self.description,
            # Postgres' default schema stays unnamed, as reflection and migrations see it.
            schema=None if self.schema == "public" else self.schema,
        )
        set_when_made(table, self.qualified, self.storage_parameters)
        for statement in self.known_of(self.qualified):
            event.listen(table, "after_create", sa.DDL(statement))
        return table

    def known_of(self, relation: str) -> list[str]:
        """The statements that declare `statistics` of the table, or of a partition, given with its schema."""
        return [
            f"CREATE STATISTICS {relation}_{name}_stats ON ({expression}) FROM {relation}"
            for name, expression in self.statistics
        ]

    def _declare_column(self, column: Column) -> sa.Column[Any]:
        if column.name in self.key:
            return sa.Column(
                column.name, column.type.sql, primary_key=True, autoincrement=False, comment=column.description
            )
        return sa.Column(column.name, column.type.sql, nullable=column.nullable, comment=column.description)

    def _declare_stamp(self, column: Column) -> sa.Column[Any]:
        default = sa.text(_STAMP_DEFAULTS[column.name])
        return sa.Column(
            column.name, column.type.sql, nullable=False, server_default=default, comment=column.description
        )

    @property
    def is_partitionable(self) -> bool:
        """Whether partitions by FID are worth their price, and possible: a key of each has to have what parts them."""
        return self.is_large and self.comparison is Comparison.MESSAGES and "fid" in self.key

    def is_found_at(self, row: str, found: str) -> str:
        """That `row` is the one whose `place` (`ctid`) was found: in partitions each has a place of that number."""
        same_place = f"{row}.ctid = {found}.place"
        # By the place alone it is looked up: an index by FID, which Postgres 15 prefers, would be walked through.
        return f"{same_place} AND {row}.fid + 0 = {found}.fid" if self.is_partitionable else same_place

    @property
    def storage_parameters(self) -> dict[str, float]:
        """Postgres' storage parameters of the table, or of each of its partitions."""
        return storage_parameters(fillfactor=self.fillfactor, is_large=self.is_large)

    def index_name(self, index: Index) -> str:
        """The name of an index of this table."""
        return f"{self.name}_{'_'.join(index.columns)}_idx"

    def _declare_index(self, index: Index) -> sa.Index:
        indexed = index.columns if index.expressions is None else map(_expression, index.expressions)
        return sa.Index(
            self.index_name(index),
            *indexed,
            postgresql_where=sa.text(index.where) if index.where else None,
            postgresql_using=index.method,
            postgresql_ops=dict.fromkeys(index.expressions or index.columns, index.operators)
            if index.operators
            else {},
        )

    @property
    def is_read_by_version(self) -> bool:
        """Whether the rows of some hours are looked for, to be held against the raw log (`rows_match_log`)."""
        return self.comparison not in (Comparison.NONE, Comparison.KEYS)

    @property
    def says_its_shard(self) -> bool:
        """Whether the key of a row names the shard whose events decide it."""
        return "shard" in self.key

    @cached_property
    def blanks(self) -> Row:
        """Nulls for the columns between the key and the last three: reason of deletion, version, time of deletion."""
        return (None,) * (len(self.columns) - len(self.key) - 3)

    @property
    def qualified(self) -> str:
        """The table's name with its schema, as SQL writes it."""
        return f"{self.schema}.{self.name}"

    @cached_property
    def looked_up(self) -> frozenset[str]:
        """The names of columns that are looked up in another table."""
        return frozenset(column.name for column in self.columns if column.lookup)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def is_found_by_fid(self) -> bool:
        """Whether the rows of a user are found by an index."""
        return "fid" in (self.key[0], *(index.columns[0] for index in self.indexes))

    @property
    def has_block_time(self) -> bool:
        """Whether a row may be known before its block is: the same message's event adds the time to it later."""
        return "block_time" in self.names

    @property
    def stamps(self) -> tuple[Column, ...]:
        """The columns that the database sets; `updated_at` of a profile is what its messages say."""
        return (CHANGED_AT if UPDATED_AT.name in self.names else UPDATED_AT, CHANGE_ID)

    @property
    def stamped_again(self) -> str:
        """For the update of an upsert: it sets the stamps itself, which saves it a call of a trigger for each row.

        A microsecond later than an insert of the same transaction would: by that RETURNING tells the two apart.
        """
        time, change = (column.name for column in self.stamps)
        return f"{time} = excluded.{time} + interval '1 microsecond', {change} = excluded.{change}"

    @property
    def is_inserted(self) -> str:
        """In RETURNING of an upsert, whether row `t` was inserted: of a partitioned table there is no `xmax` to ask."""
        return f"t.{self.stamps[0].name} = now()"

    @cached_property
    def shown_columns(self) -> tuple[Column, ...]:
        """All columns that a reader finds, those that the database sets included."""
        return (*self.columns, *self.stamps)

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The Arrow schema of this table's rows, key, `version` and `deleted_at` included."""
        return pa.schema(
            [pa.field(c.name, c.type.arrow, metadata={"description": c.description}) for c in self.columns]
        )

    def arrow(self, rows: Iterable[Row]) -> pa.Table:
        """Rows → an Arrow table of `arrow_schema`.

        Raises OverflowError or pyarrow.ArrowInvalid for a value that its column cannot hold; what `tables` builds from
        wire types never does.
        """
        columns = list(zip(*rows, strict=True)) or [()] * len(self.columns)
        arrays = [
            pa.array(values, type=column.type.arrow) for values, column in zip(columns, self.columns, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.arrow_schema)

    def columns_to_arrow(self, columns: Mapping[str, ArrowArray], rows: int) -> pa.Table:
        """Columns by name, each of `rows` values → an Arrow table of `arrow_schema`; one that is not given is null."""
        arrays = [
            columns[column.name] if column.name in columns else pa.nulls(rows).cast(column.type.arrow)
            for column in self.columns
        ]
        return pa.Table.from_arrays(arrays, schema=self.arrow_schema)
