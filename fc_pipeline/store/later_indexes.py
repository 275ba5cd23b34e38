"""Indexes that would make loading much slower: made beside everything else when the replica has caught up.

Until then the queries that they serve give the same answers, slowly.
"""

import logging
from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.advisory_locks import MAKING_INDEXES, attempted
from fc_pipeline.tables.columns import DataTable, Index
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = ["make", "missing"]

_log = logging.getLogger(__name__)

_IS_VALID: Final = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def _later() -> list[tuple[DataTable, Index]]:
    return [(table, index) for table in ALL_TABLES.values() for index in table.indexes if index.is_made_later]


def missing(engine: sa.Engine) -> list[str]:
    """The names, with their schema, of those that are not made yet, or not to the end."""
    with engine.connect() as connection:
        return [name for name in map(_name, _later()) if not _is_valid(connection, name)]


def make(engine: sa.Engine) -> list[str]:
    """Make those that are missing, while rows are written; gives the names of those that it made.

    Leaves it to another session that is at it. One that was broken off is made anew.
    """
    made: list[str] = []
    with attempted(engine, MAKING_INDEXES) as is_ours:
        if not is_ours:
            return made
        wanted = missing(engine)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table, index in _later():
                name = _name((table, index))
                if name not in wanted:
                    continue
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                connection.exec_driver_sql(_creating(table, index))
                _log.info("index_made name=%s", name)
                made.append(name)
    return made


def _is_valid(connection: sa.Connection, name: str) -> bool:
    return bool(connection.execute(_IS_VALID, {"name": name}).scalar_one_or_none())


def _creating(table: DataTable, index: Index) -> str:
    where = f" WHERE {index.where}" if index.where else ""
    return (
        f"CREATE INDEX CONCURRENTLY {table.index_name(index)} ON {table.qualified} USING {index.method} "
        f"({', '.join(index.expressions or index.columns)}){where}"
    )


def _name(of: tuple[DataTable, Index]) -> str:
    table, index = of
    return f"{table.schema}.{table.index_name(index)}"
