"""Fills what follows from loaded rows, each table at once: derived tables and counts. They must be empty."""

from typing import Final

import sqlalchemy as sa

from fc_pipeline.store import counts
from fc_pipeline.tables.counts import CountTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.registry import LISTED_TABLES

__all__ = ["fill_counts", "fill_derived"]

_WORK_MEMORY: Final = "SET LOCAL work_mem = '{}MB'"


def fill_derived(connection: sa.Connection, one: DerivedTable, *, memory_mb: int) -> int:
    """Derive all rows of an empty table from its sources; how many there are."""
    connection.exec_driver_sql(_WORK_MEMORY.format(memory_mb))
    names = ", ".join(one.table.names)
    return connection.exec_driver_sql(
        f"INSERT INTO {one.table.qualified} ({names}) SELECT {names} FROM ({_all_rows(one)}) AS derived_rows"
    ).rowcount


def _all_rows(one: DerivedTable) -> str:
    if one.all_rows is not None:
        return one.all_rows
    relations = {name: LISTED_TABLES[name].qualified for name in one.sources}
    touched = " UNION ALL ".join(one.touched[name].replace("{rows}", rows) for name, rows in relations.items())
    scope = ", ".join(one.scope)
    known = " AND ".join(f"{name} IS NOT NULL" for name in one.scope)
    every_scope = f"(SELECT DISTINCT {scope} FROM ({touched}) AS touched ({scope}) WHERE {known})"
    return one.rows.replace("{scope}", every_scope)


def fill_counts(connection: sa.Connection, one: CountTable, *, memory_mb: int) -> int:
    """Count for all keys of an empty table; how many there are."""
    connection.exec_driver_sql(_WORK_MEMORY.format(memory_mb))
    return connection.exec_driver_sql(counts.fill(one)).rowcount
