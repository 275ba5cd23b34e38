"""Outcomes of a micro-batch's events: each event is counted once, so that no loss goes unnoticed."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

__all__ = ["EventOutcomes", "events_of"]


@dataclass(frozen=True, slots=True)
class EventOutcomes:
    """Events by outcome before anything is written; together they are all events that were read.

    `without_rows` change no table, such as BLOCK_CONFIRMED or MERGE_FAILURE; `set_aside` are in quarantine only;
    `filtered` are of tables or users that were not selected; `with_rows` have rows to be written. How many of these
    change something is known after the merge.
    """

    without_rows: int = 0
    set_aside: int = 0
    filtered: int = 0
    with_rows: int = 0

    def __add__(self, other: "EventOutcomes") -> "EventOutcomes":
        return EventOutcomes(
            self.without_rows + other.without_rows,
            self.set_aside + other.set_aside,
            self.filtered + other.filtered,
            self.with_rows + other.with_rows,
        )

    def with_filtered(self, events: int) -> "EventOutcomes":
        """The same with so many more events filtered."""
        return EventOutcomes(self.without_rows, self.set_aside, self.filtered + events, self.with_rows - events)

    @property
    def events(self) -> int:
        """All of them."""
        return self.without_rows + self.set_aside + self.filtered + self.with_rows


def events_of(tables: Iterable[pa.Table]) -> int:
    """How many events rows are of: an event has one version, in however many rows."""
    versions = [table["version"].to_numpy() for table in tables]
    return len(np.unique(np.concatenate(versions))) if versions else 0
