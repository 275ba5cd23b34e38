"""What a comparison of the tables with the raw log found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fc_pipeline.hours import Hour

__all__ = ["HourDifferences", "LogComparison", "TableComparison"]


@dataclass(frozen=True, slots=True)
class HourDifferences:
    """Rows of one table that are not as the log has them; `hour` is None where no event can have decided them."""

    hour: Hour | None
    missing: int = 0
    changed: int = 0
    invented: int = 0
    example: str = ""

    @property
    def rows(self) -> int:
        """All of them."""
        return self.missing + self.changed + self.invented


@dataclass(frozen=True)
class TableComparison:
    """What was found of one table: rows expected, and differences by hour, newest first."""

    rows: int
    differences: Sequence[HourDifferences] = ()

    @property
    def wrong(self) -> int:
        """Rows that are not as the log has them."""
        return sum(one.rows for one in self.differences)


@dataclass(frozen=True)
class LogComparison:
    """Per table what was found; which hours were compared, and which could not be, with the reason."""

    tables: Mapping[str, TableComparison] = field(default_factory=dict[str, TableComparison])
    hours: Sequence[Hour] = ()
    events: int = 0
    unread: Mapping[tuple[Hour, int], str] = field(default_factory=dict[tuple[Hour, int], str])
    seconds: float = 0.0
