"""Indexes that only readers need, and loading would be slower with: made when a new replica has caught up.

Until then the queries that they serve give the same answers, slowly. What the fold, repairs and checks look up by has
its index at once.
"""

import logging
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.advisory_locks import MAKING_INDEXES, attempted
from fc_pipeline.store.partitions import partitions_of
from fc_pipeline.tables.columns import DataTable, Index
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = ["drop", "make", "missing"]

_log = logging.getLogger(__name__)

_PARTS: Final = sa.text("SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass(:whole)")
_IS_PART: Final = sa.text(
    "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhparent = to_regclass(:whole) AND inhrelid = to_regclass(:part))"
)
_VALID: Final = sa.text(
    "SELECT n.name FROM unnest(CAST(:names AS text[])) AS n (name) "
    "JOIN pg_index AS i ON i.indexrelid = to_regclass(n.name) WHERE i.indisvalid"
)


def _later() -> list[tuple[DataTable, Index]]:
    return [(table, index) for table in ALL_TABLES.values() for index in table.indexes if index.is_made_later]


def missing(connection: sa.Connection) -> list[str]:
    """The names, with their schema, of those that are not made yet, or not to the end."""
    names = list(map(_name, _later()))
    made = set(connection.execute(_VALID, {"names": names}).scalars())
    return [name for name in names if name not in made]


def make(engine: sa.Engine) -> list[str]:
    """Make those that are missing, while rows are written; gives the names of those that it made.

    Leaves it to another session that is at it. One that was broken off is made anew.
    """
    made: list[str] = []
    with attempted(engine, MAKING_INDEXES) as is_ours:
        if not is_ours:
            return made
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            wanted = missing(connection)
            for table, index in _later():
                name = _name((table, index))
                if name not in wanted:
                    continue
                if parts := partitions_of(connection, table):
                    _make_in_parts(connection, table, index, parts)
                else:
                    _make_anew(connection, index, table.qualified, name)
                _log.info("index_made name=%s", name)
                made.append(name)
    return made


def drop(connection: sa.Connection) -> None:
    """Drop all of them, of a database in which there is nothing yet: migrations made them for others."""
    for one in _later():
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {_name(one)}")


def _make_in_parts(connection: sa.Connection, table: DataTable, index: Index, partitions: Sequence[str]) -> None:
    """Make that of a partitioned table, which cannot be made while rows are written: that of each partition can.

    Those that are made already stay; when each partition has its own, that of the table is valid.
    """
    whole = _name((table, index))
    if _has_all_parts(connection, whole, len(partitions)):  # and is not valid all the same: one was made again by hand
        connection.exec_driver_sql(f"DROP INDEX {whole}")
    creating = f"INDEX IF NOT EXISTS {table.index_name(index)} ON ONLY"
    connection.exec_driver_sql(_creating(index, creating, table.qualified))
    for partition in partitions:
        part = f"{partition}_{'_'.join(index.columns)}_idx"
        if not _is_part(connection, part, whole):
            _make_anew(connection, index, partition, part)
            connection.exec_driver_sql(f"ALTER INDEX {whole} ATTACH PARTITION {part}")


def _make_anew(connection: sa.Connection, index: Index, relation: str, name: str) -> None:
    """Make one of a table or a partition while rows are written, in place of one that was broken off."""
    connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    connection.exec_driver_sql(_creating(index, f"INDEX CONCURRENTLY {name.partition('.')[2]} ON", relation))


def _has_all_parts(connection: sa.Connection, whole: str, partitions: int) -> bool:
    return connection.execute(_PARTS, {"whole": whole}).scalar_one() == partitions


def _is_part(connection: sa.Connection, part: str, whole: str) -> bool:
    return connection.execute(_IS_PART, {"part": part, "whole": whole}).scalar_one()


def _creating(index: Index, what: str, relation: str) -> str:
    operators = f" {index.operators}" if index.operators else ""
    indexed = ", ".join(f"{one}{operators}" for one in index.expressions or index.columns)
    where = f" WHERE {index.where}" if index.where else ""
    return f"CREATE {what} {relation} USING {index.method} ({indexed}){where}"


def _name(of: tuple[DataTable, Index]) -> str:
    table, index = of
    return f"{table.schema}.{table.index_name(index)}"
