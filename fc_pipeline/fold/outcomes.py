"""What became of a micro-batch: its events by outcome, each counted once, and the rows of each table."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

__all__ = ["EventOutcomes", "Written", "events_of"]


@dataclass(frozen=True, slots=True)
class EventOutcomes:
    """Events by outcome before anything is written; together they are all events that were read.

    `without_rows` change no table, such as BLOCK_CONFIRMED or MERGE_FAILURE; `quarantined` are in quarantine only;
    `filtered` are of tables or users that were not selected; `with_rows` have rows to be written. How many of these
    change something is known after the merge.
    """

    without_rows: int = 0
    quarantined: int = 0
    filtered: int = 0
    with_rows: int = 0

    def __add__(self, other: "EventOutcomes") -> "EventOutcomes":
        return EventOutcomes(
            self.without_rows + other.without_rows,
            self.quarantined + other.quarantined,
            self.filtered + other.filtered,
            self.with_rows + other.with_rows,
        )

    def with_filtered(self, events: int) -> "EventOutcomes":
        """The same with so many more events filtered."""
        return EventOutcomes(self.without_rows, self.quarantined, self.filtered + events, self.with_rows - events)

    @property
    def events(self) -> int:
        """All of them."""
        return self.without_rows + self.quarantined + self.filtered + self.with_rows


def events_of(tables: Iterable[pa.Table]) -> int:
    """How many events rows are of: an event has one version, in however many rows."""
    versions = [table["version"].to_numpy() for table in tables]
    return len(np.unique(np.concatenate(versions))) if versions else 0


@dataclass(frozen=True, slots=True)
class Written:
    """Rows of one table that a transaction inserted, updated, or marked as deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(self.inserted + other.inserted, self.updated + other.updated, self.deleted + other.deleted)

    @property
    def rows(self) -> int:
        """All rows written."""
        return self.inserted + self.updated + self.deleted
