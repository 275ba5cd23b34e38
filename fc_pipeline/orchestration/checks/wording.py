"""The form of every check: its spec names remedy and runbook, its result has a table of what is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from dagster import AssetCheckSpec, MetadataValue, TableColumn, TableRecord, TableSchema

from fc_pipeline.printed_commands import runnable

__all__ = ["MAX_ROWS", "check_spec", "heights_of", "table_of"]

MAX_ROWS = 100
"""Rows of a table in metadata, next to the total."""


def check_spec(asset: str, name: str, holds: str, remedy: str) -> AssetCheckSpec:
    """The spec of a check: what must hold, the remedy, and a link to the runbook."""
    return AssetCheckSpec(
        name,
        asset=asset,
        description=f"{holds}\n\nIf not: {runnable(remedy)}\n\nMore: `docs/checks.md#{name}`",
        metadata={"runbook": f"docs/checks.md#{name}"},
    )


def table_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, most: int = MAX_ROWS) -> MetadataValue[Any]:
    """The first rows as a table for the UI; values of other types are shown as text."""
    records = [TableRecord({name: _cell(row.get(name)) for name in columns}) for row in islice(rows, most)]
    return MetadataValue.table(records, TableSchema([TableColumn(name, "string") for name in columns]))


def heights_of(first: int, last: int) -> str:
    """Heights as text."""
    return str(first) if first == last else f"{first}-{last}"


def _cell(value: Any) -> str | int | float | bool:
    if value is None:
        return ""
    return value if isinstance(value, str | int | float | bool) else str(value)
