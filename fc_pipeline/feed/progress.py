"""What a run has done, per hour: the source of materialisation metadata."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.outcomes import EventOutcomes, Written
from fc_pipeline.hours import Hour
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.registry import MESSAGE_TABLES

__all__ = ["SAMPLE_ROWS", "HourProgress", "Progress", "TableProgress"]

SAMPLE_ROWS = 5


@dataclass(slots=True)
class TableProgress:
    """Rows of one table written for an hour, and a few of those staged last; derived ones are never staged."""

    written: Written = field(default_factory=Written)
    sample: pa.Table | None = None


@dataclass(slots=True)
class HourProgress:
    """Everything done for one hour by this run.

    `heights` maps a shard to the first and last folded height, `last_block_unix` to the time of the last block;
    `naive_rows` is what one write per message would have written. `seconds` is time spent in Postgres, `ledger_seconds`
    what the ledger has of it. `outcomes` and `events_written` say what became of the `events`, `rows_filtered` how many
    rows concern no target.
    """

    hour: Hour
    micro_batches: int = 0
    events: int = 0
    size_bytes: int = 0
    log_bytes: int = 0
    naive_rows: int = 0
    rows_filtered: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    ledger_seconds: float = 0.0
    outcomes: EventOutcomes = field(default_factory=EventOutcomes)
    events_written: int = 0
    heights: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    last_block_unix: dict[int, int] = field(default_factory=dict[int, int])
    tables: dict[str, TableProgress] = field(default_factory=dict[str, TableProgress])
    clock_ahead_seconds: float = 0.0

    def lag_seconds(self, now: float) -> dict[int, float]:
        """Per shard: age of the last folded block, by the network's time."""
        return {shard: now - self.clock_ahead_seconds - unix for shard, unix in self.last_block_unix.items()}

    @property
    def rows_written(self) -> int:
        """Rows written over all tables."""
        return sum(table.written.rows for table in self.tables.values())

    @property
    def message_rows_written(self) -> int:
        """Rows written to the tables of messages, to compare with `naive_rows`.

        One write per message would, in addition, update a profile and activity counts each time.
        """
        return sum(self.tables[name].written.rows for name in MESSAGE_TABLES.keys() & self.tables.keys())

    @property
    def events_unchanged(self) -> int:
        """Events whose rows were in the tables already, or decided by later events."""
        return self.outcomes.with_rows - self.events_written

    @property
    def events_unaccounted(self) -> int:
        """Events without a known outcome: always 0."""
        return self.events - self.outcomes.events

    def add(
        self,
        batch: MicroBatch,
        written: dict[str, Written],
        events_written: int,
        *,
        log_bytes: int,
        seconds: float,
        ledger_seconds: float,
    ) -> None:
        """Count one committed micro-batch, of whose events so many had rows that were written."""
        self.outcomes += batch.outcomes
        self.rows_filtered += batch.rows_filtered
        self.events_written += events_written
        self.micro_batches += 1
        self.events += batch.events
        self.size_bytes += batch.size_bytes
        self.log_bytes += log_bytes
        self.naive_rows += batch.messages
        self.quarantined += len(batch.quarantined)
        self.seconds += seconds
        self.ledger_seconds += ledger_seconds
        first, last = self.heights.get(batch.shard, (batch.from_height, batch.to_height))
        self.heights[batch.shard] = (min(first, batch.from_height), max(last, batch.to_height))
        self.last_block_unix[batch.shard] = max(self.last_block_unix.get(batch.shard, 0), batch.last_block_unix)
        staged = {**batch.rows, FID_ACTIVITY.name: batch.activity}
        for name, rows in written.items():
            self.add_table(name, rows, staged.get(name))

    def snapshot(self) -> "HourProgress":
        """The same as it is now, untouched by what is added later."""
        return replace(
            self,
            heights=dict(self.heights),
            last_block_unix=dict(self.last_block_unix),
            tables={name: replace(table) for name, table in self.tables.items()},
        )

    def add_table(self, name: str, written: Written, staged: pa.Table | None) -> None:
        """Count rows of one table, and keep the first few that were staged as its sample."""
        table = self.tables.setdefault(name, TableProgress())
        table.written += written
        if staged is not None and len(staged):
            table.sample = _sample_of(staged)


def _sample_of(staged: pa.Table) -> pa.Table:
    """A few rows, live ones first: tombstones have few values."""
    if "deleted_at" not in staged.column_names:
        return staged.slice(0, SAMPLE_ROWS)
    is_live = pc.is_null(staged["deleted_at"])
    live, dead = (pc.indices_nonzero(wanted)[:SAMPLE_ROWS] for wanted in (is_live, pc.invert(is_live)))
    return staged.take(pa.concat_arrays([live, dead])[:SAMPLE_ROWS])


class Progress:
    """The hours that a run has touched; says which changed since they were last reported.

    Thread-safe: some threads fold, another reports. Returned values are snapshots. `clock_ahead_seconds` is by how much
    this machine's clock is ahead of the network's.
    """

    def __init__(self, on_batch: Callable[[HourProgress], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._hours: dict[Hour, HourProgress] = {}
        self._unreported: set[Hour] = set()
        self._on_batch = on_batch
        self.started_at = time.time()
        self.clock_ahead_seconds = 0.0

    def add(
        self,
        hour: Hour,
        batch: MicroBatch,
        written: dict[str, Written],
        events_written: int,
        *,
        log_bytes: int,
        seconds: float,
        ledger_seconds: float,
    ) -> None:
        """Count one committed micro-batch, of whose events so many had rows that were written."""
        with self._lock:
            progress = self._hours.setdefault(hour, HourProgress(hour))
            progress.add(
                *(batch, written, events_written),
                log_bytes=log_bytes,
                seconds=seconds,
                ledger_seconds=ledger_seconds,
            )
            progress.clock_ahead_seconds = self.clock_ahead_seconds
            self._unreported.add(hour)
            counted = progress.snapshot() if self._on_batch is not None else None
        if self._on_batch is not None and counted is not None:
            self._on_batch(counted)

    def add_table(self, hour: Hour, name: str, written: Written, staged: pa.Table | None) -> None:
        """Count rows that were written to one table of an hour on their own."""
        with self._lock:
            self._hours.setdefault(hour, HourProgress(hour)).add_table(name, written, staged)
            self._unreported.add(hour)

    def touch(self, hour: Hour) -> None:
        """Report an hour although nothing of it was missing."""
        with self._lock:
            if hour not in self._hours:
                self._hours[hour] = HourProgress(hour)
                self._unreported.add(hour)

    def changed(self) -> list[HourProgress]:
        """Hours touched since the last call, oldest first."""
        with self._lock:
            hours, self._unreported = sorted(self._unreported), set()
            return [self._hours[hour].snapshot() for hour in hours]

    @property
    def hours(self) -> list[HourProgress]:
        """Every hour touched, oldest first."""
        with self._lock:
            return [self._hours[hour].snapshot() for hour in sorted(self._hours)]

    @property
    def events(self) -> int:
        """Events folded over all hours."""
        with self._lock:
            return sum(hour.events for hour in self._hours.values())
