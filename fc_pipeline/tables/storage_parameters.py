"""What a table asks of Postgres' storage: room in its pages for updates, and when autovacuum comes to it."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event

__all__ = ["LARGE", "set_on", "set_when_made", "storage_parameters"]

LARGE: Final[Mapping[str, float]] = {
    # Postgres' own shares (20%, 20%, 10%) are of a table that is read through in seconds. Of 400 million rows they are
    # 80 million: the dead ones fill the indexes for months, and then one vacuum takes days.
    "autovacuum_vacuum_scale_factor": 0.02,
    # Rows only come, mostly. Each vacuum marks their pages as seen by all, which index-only scans need, and freezes
    # some; it reads no more than the pages that are new.
    "autovacuum_vacuum_insert_scale_factor": 0.01,
    # Queries ask for the last days: the histogram of times has to end there.
    "autovacuum_analyze_scale_factor": 0.005,
}
"""Autovacuum of a table of hundreds of millions of rows, by shares of it."""


def storage_parameters(*, fillfactor: int, is_large: bool) -> dict[str, float]:
    """Those that differ from Postgres' own, by name."""
    return {**({"fillfactor": fillfactor} if fillfactor != 100 else {}), **(LARGE if is_large else {})}


def set_on(table: str, parameters: Mapping[str, float]) -> str:
    """The statement that sets them on a table, or a partition of one, given with its schema."""
    return f"ALTER TABLE {table} SET ({', '.join(f'{name} = {value}' for name, value in parameters.items())})"


def set_when_made(table: sa.Table, qualified: str, parameters: Mapping[str, float]) -> None:
    """Have them set when the table is created: SQLAlchemy has no such option of a table."""
    if parameters:
        statement: Any = sa.DDL(set_on(qualified, parameters))
        event.listen(table, "after_create", statement)
