"""The form of every check: its spec names remedy and runbook, its result has a table of what is wrong."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
)

from fc_pipeline.errors import HubError
from fc_pipeline.feed.outputs import RAW_LOG
from fc_pipeline.printed_commands import runnable

__all__ = [
    "MAX_ROWS",
    "check_spec",
    "heights_of",
    "materializing",
    "remedy_of",
    "runbook_of",
    "table_of",
    "with_remedy",
    "without_hub",
]

MAX_ROWS = 100
"""Rows of a table in metadata, next to the total."""

_IF_NOT: Final = "\n\nIf not: "
_MORE: Final = "\n\nMore: "
_RUNBOOK: Final = "runbook"


def check_spec(asset: str, name: str, holds: str, remedy: str) -> AssetCheckSpec:
    """The spec of a check: what must hold, the remedy, and a link to the runbook."""
    return AssetCheckSpec(
        name,
        asset=asset,
        description=f"{holds}{_IF_NOT}{runnable(remedy)}{_MORE}`docs/checks.md#{name}`",
        metadata={_RUNBOOK: f"docs/checks.md#{name}"},
    )


def remedy_of(spec: AssetCheckSpec) -> str:
    """What a check's spec says to do where it does not hold."""
    return (spec.description or "").partition(_IF_NOT)[2].partition(_MORE)[0]


def runbook_of(spec: AssetCheckSpec) -> str:
    """The place in docs/ that a check's spec names."""
    return str(spec.metadata[_RUNBOOK])


def with_remedy(finding: str, remedy: str) -> str:
    """What was found, and the command that mends it or looks further, as it can be typed."""
    return f"{finding}. Remedy: {runnable(remedy)}"


def without_hub(check_name: str, error: HubError) -> AssetCheckResult:
    """The result of a check of the raw log that compares with a hub, where none answers."""
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=check_name,
        passed=False,
        severity=AssetCheckSeverity.WARN,
        description=f"no hub to compare with: {error}",
    )


def materializing(asset: str, hours: Collection[str]) -> str:
    """The command that materialises an asset for these hours (partition keys), and what lies between them."""
    first, last = min(hours), max(hours)
    chosen = f"--partition {first}" if first == last else f"--partition-range {first}...{last}"
    return f"dagster asset materialize -m fc_pipeline.definitions --select {asset} {chosen}"


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
