"""Hash partitions by FID: an option of large tables of messages, where these are made (FC_PG_PARTITIONS).

A table has them from its beginning or never: what is written to `casts` lies in `casts_p00`, `casts_p01`, … Statements
name the table alone. What Postgres does not do for all partitions by itself, those who ask here do for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline.tables.storage_parameters import set_on

__all__ = [
    "PARTITIONABLE",
    "STORING",
    "Extent",
    "analyze",
    "create",
    "extent_of",
    "otherwise_partitioned",
    "partitions_of",
]

PARTITIONABLE: Final[Sequence[DataTable]] = tuple(one for one in ALL_TABLES.values() if one.is_partitionable)
"""The tables that get partitions where these are wanted."""

STORING: Final = (
    "SELECT c.oid FROM pg_class AS c WHERE c.relkind = 'r' AND (c.oid = to_regclass(:name) "
    "OR c.oid IN (SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = to_regclass(:name)))"
)
"""What stores the rows of a table: the table itself, or its partitions. Statistics and sizes are of these alone."""

_PARTITIONS: Final = sa.text(
    "SELECT n.nspname || '.' || c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid "
    "JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE i.inhparent = to_regclass(:name) AND c.relispartition "
    "ORDER BY 1"
)
_EXTENT: Final = sa.text(
    "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint AS rows, coalesce(sum(c.relpages), 0) AS known_pages, "
    "coalesce(sum(pg_relation_size(c.oid)) / current_setting('block_size')::bigint, 0)::bigint AS pages "
    f"FROM pg_class AS c WHERE c.oid IN ({STORING})"
)


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a table is: rows and pages as Postgres last counted them, and pages as they are."""

    rows: int
    known_pages: int
    pages: int


def create(connection: sa.Connection, table: DataTable, partitions: int) -> None:
    """Create a table that is not there, as declared, in so many partitions."""
    made = table.sql.to_metadata(sa.MetaData())
    made.dialect_options["postgresql"]["partition_by"] = "HASH (fid)"
    made.create(connection)
    names = [_name(table, number, partitions) for number in range(partitions)]
    for number, name in enumerate(names):
        connection.exec_driver_sql(
            f"CREATE TABLE {name} PARTITION OF {table.qualified} "
            f"FOR VALUES WITH (MODULUS {partitions}, REMAINDER {number})"
        )
        if table.storage_parameters:
            connection.exec_driver_sql(set_on(name, table.storage_parameters))
    for name in (table.qualified, *names):
        for statement in table.known_of(name):
            connection.exec_driver_sql(statement)


def _name(table: DataTable, number: int, partitions: int) -> str:
    return f"{table.qualified}_p{number:0{max(2, len(str(partitions - 1)))}}"


def partitions_of(connection: sa.Connection, table: DataTable) -> list[str]:
    """The names of a table's partitions, with their schema, in order; none of one that has none."""
    return list(connection.execute(_PARTITIONS, {"name": table.qualified}).scalars())


def extent_of(connection: sa.Connection, name: str) -> Extent:
    """How large a table is, given with its schema."""
    return Extent(*connection.execute(_EXTENT, {"name": name}).one())


def otherwise_partitioned(connection: sa.Connection, partitions: int) -> list[str]:
    """The names of tables that would have so many partitions, were they made now, and have others or none."""
    return [table.name for table in PARTITIONABLE if len(partitions_of(connection, table)) != partitions]


def analyze(engine: sa.Engine) -> list[str]:
    """Tell the planner of partitioned tables as wholes, which autovacuum does not; gives the tables' names."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        found = [table for table in PARTITIONABLE if partitions_of(connection, table)]
        for table in found:
            connection.exec_driver_sql(f"ANALYZE {table.qualified}")
    return [table.name for table in found]
