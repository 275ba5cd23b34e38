"""Indexes that only readers need, and loading would be slower with: made when a new replica has caught up.

Until then the queries that they serve give the same answers, slowly. What the fold, repairs and checks look up by has
its index at once.
"""

import logging
from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.advisory_locks import MAKING_INDEXES, attempted
from fc_pipeline.tables.columns import DataTable, Index
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = ["drop", "make", "missing"]

_log = logging.getLogger(__name__)

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
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                connection.exec_driver_sql(_creating(table, index))
                _log.info("index_made name=%s", name)
                made.append(name)
    return made


def drop(connection: sa.Connection) -> None:
    """Drop all of them, of a database in which there is nothing yet: migrations made them for others."""
    for one in _later():
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {_name(one)}")


def _creating(table: DataTable, index: Index) -> str:
    operators = f" {index.operators}" if index.operators else ""
    indexed = ", ".join(f"{one}{operators}" for one in index.expressions or index.columns)
    where = f" WHERE {index.where}" if index.where else ""
    return (
        f"CREATE INDEX CONCURRENTLY {table.index_name(index)} ON {table.qualified} USING {index.method} "
        f"({indexed}){where}"
    )


def _name(of: tuple[DataTable, Index]) -> str:
    table, index = of
    return f"{table.schema}.{table.index_name(index)}"
