"""What a table has beside its rows: taken away before rows are loaded, made again afterwards, several at a time.

A row that is copied into a table with four indexes costs Postgres six times what it costs without. Everything is made
from the tables' declarations, so it does not matter where a load was cut short.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

__all__ = ["Structure", "drop_structures", "make_structures", "triggers"]

_log = logging.getLogger(__name__)

_DIALECT: Final = pg.dialect()
_CONSTRAINTS: Final = sa.text(
    "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:table AS regclass) AND contype = 'p'"
)
_INDEXES: Final = sa.text(
    "SELECT i.indexrelid::regclass::text FROM pg_index AS i WHERE i.indrelid = CAST(:table AS regclass) "
    "AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)"
)
_VALID: Final = sa.text(
    "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(:name) AND indrelid = to_regclass(:table) "
    "AND indisvalid"
)


@dataclass(frozen=True, slots=True)
class Structure:
    """One index or primary key of a table, by their names with the schema, and the statement that makes it."""

    table: str
    name: str
    statement: str


def structures(tables: Iterable[sa.Table]) -> list[Structure]:
    """The primary keys and indexes that a table has from the beginning."""
    return [one for table in tables for one in _of_table(table)]


def _of_table(table: sa.Table) -> Iterator[Structure]:
    schema = table.schema or "public"
    qualified = f"{schema}.{table.name}"
    key = ", ".join(column.name for column in table.primary_key.columns)
    name = f"{table.name}_pkey"
    yield Structure(qualified, f"{schema}.{name}", f"ALTER TABLE {qualified} ADD CONSTRAINT {name} PRIMARY KEY ({key})")
    for index in sorted(table.indexes, key=lambda one: str(one.name)):
        statement = str(sa.schema.CreateIndex(index).compile(dialect=_DIALECT))
        yield Structure(qualified, f"{schema}.{index.name}", statement)


def drop_structures(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Drop the primary keys and all indexes of tables, those that only readers need among them."""
    for table in tables:
        qualified = f"{table.schema or 'public'}.{table.name}"
        for constraint in connection.execute(_CONSTRAINTS, {"table": qualified}).scalars().all():
            connection.exec_driver_sql(f"ALTER TABLE {qualified} DROP CONSTRAINT {constraint}")
        for index in connection.execute(_INDEXES, {"table": qualified}).scalars().all():
            connection.exec_driver_sql(f"DROP INDEX {index}")


def triggers(connection: sa.Connection, tables: Iterable[sa.Table], *, enabled: bool) -> None:
    """Enable or disable the triggers of tables: counts are made for all rows at once."""
    word = "ENABLE" if enabled else "DISABLE"
    for table in tables:
        connection.exec_driver_sql(f"ALTER TABLE {table.schema or 'public'}.{table.name} {word} TRIGGER USER")


def make_structures(
    engine: sa.Engine,
    tables: Sequence[sa.Table],
    *,
    at_once: int,
    memory_mb: int,
) -> None:
    """Make the primary keys and indexes that tables lack, `at_once` of them at a time, each with so much memory.

    One that was cut short is made anew. A primary key keeps others of its table waiting, so each table's indexes come
    first.
    """
    wanted = structures(tables)
    # Adding a constraint locks its table against the others.
    for part in (
        [one for one in wanted if "ADD CONSTRAINT" not in one.statement],
        [one for one in wanted if "ADD CONSTRAINT" in one.statement],
    ):
        with ThreadPoolExecutor(max_workers=at_once) as pool:
            for made in [pool.submit(_make, engine, one, memory_mb) for one in part]:
                made.result()


def _make(engine: sa.Engine, one: Structure, memory_mb: int) -> None:
    with engine.begin() as connection:
        if not connection.scalar(_VALID, {"name": one.name, "table": one.table}):
            connection.exec_driver_sql(f"SET LOCAL maintenance_work_mem = '{memory_mb}MB'")
            connection.exec_driver_sql(one.statement)
            _log.info("structure_made name=%s", one.name)
