"""Named points of a run at which it is sent a signal: the test's own process wraps the product's functions there.

Nothing of this is in the product. A point is reached so many times; the signal comes at the nth.
"""

import os
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.feed.progress import HourProgress
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.lake import storage
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.orchestration.assets.materialization import materializations
from fc_pipeline.replica import Replica
from fc_pipeline.store.writer_connection import WriterConnection
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.registry import DATA_TABLES

RUN_POINTS = (
    "after_fetch",
    "raw_half_written",
    "raw_without_name",
    "raw_stored",
    "mid_copy",
    "staged",
    "before_commit",
    "after_commit",
    "before_report",
)
"""Of a micro-batch, in this order; the last is before Dagster is told of it."""
BACKFILL_POINTS = ("snapshots_half_written", "snapshots_stored", "lines_recorded", "mid_copy", "before_commit")


class Trap:
    """Sends this process the signal when a point is reached for the nth time."""

    def __init__(self, nth: int, signal_number: int) -> None:
        self._left = nth
        self._signal = signal_number

    def is_next(self) -> bool:
        """Counts, and says whether this is the time."""
        self._left -= 1
        return self._left == 0

    def spring(self) -> None:
        os.kill(os.getpid(), self._signal)
        time.sleep(0.01)  # the kernel delivers it before this returns

    def reached(self) -> None:
        if self.is_next():
            self.spring()


def set_trap(point: str, trap: Trap) -> None:
    """Wrap what the point is in, for the rest of this process."""
    _TRAPS[point](trap)


def _before(owner: Any, name: str) -> Callable[[Trap], None]:
    def wrap(trap: Trap) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **named: Any) -> Any:
            trap.reached()
            return original(*args, **named)

        setattr(owner, name, wrapped)

    return wrap


def _after(owner: Any, name: str) -> Callable[[Trap], None]:
    def wrap(trap: Trap) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **named: Any) -> Any:
            result = original(*args, **named)
            trap.reached()
            return result

        setattr(owner, name, wrapped)

    return wrap


class _HalfWriter:
    """A file of which the first half of what is written is on disk when the signal comes."""

    def __init__(self, stream: BinaryIO, trap: Trap) -> None:
        self._stream = stream
        self._trap = trap

    def write(self, content: Any) -> int:
        if self._trap.is_next():
            half = memoryview(content)[: len(memoryview(content)) // 2]
            self._stream.write(half)
            self._stream.flush()
            self._trap.spring()
            return len(half) + self._stream.write(memoryview(content)[len(half) :])
        return self._stream.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _half_written(trap: Trap) -> None:
    original = storage._writing_durably

    @contextmanager
    def wrapped(target: Path) -> Generator[BinaryIO]:
        with original(target) as stream:
            yield cast(BinaryIO, _HalfWriter(stream, trap))

    storage._writing_durably = wrapped


def _without_name(trap: Trap) -> None:
    original = storage._writing_durably

    @contextmanager
    def wrapped(target: Path) -> Generator[BinaryIO]:
        with original(target) as stream:
            yield stream
            stream.flush()
            trap.reached()

    storage._writing_durably = wrapped


def _mid_copy(trap: Trap) -> None:
    original = WriterSession.copy

    def copy(self: WriterSession, staging: str, rows: pa.Table) -> None:
        """In the middle of COPY: Postgres has the first half of the rows."""
        if len(rows) < 2 or not trap.is_next():
            original(self, staging, rows)
            return
        half = len(rows) // 2

        def batches() -> Iterator[pa.RecordBatch]:
            yield from rows.slice(0, half).to_batches()
            trap.spring()
            yield from rows.slice(half).to_batches()

        reader = pa.RecordBatchReader.from_batches(rows.schema, batches())
        self._cursor.adbc_ingest(staging, reader, mode="append", temporary=True)

    WriterSession.copy = copy


def report(replica: Replica, hours: list[HourProgress]) -> None:
    """Stands where Dagster is told of hours that were committed: makes the same events, and keeps them to itself."""
    for hour in hours:
        assert list(materializations(replica, hour, [RAW_LOG, *DATA_TABLES]))


_TRAPS: dict[str, Callable[[Trap], None]] = {
    "after_fetch": _before(BatchWriter, "store_new"),
    "raw_half_written": _half_written,
    "raw_without_name": _without_name,
    "raw_stored": _after(LakeStorage, "write"),
    "mid_copy": _mid_copy,
    "staged": _after(FoldSession, "_stage"),
    "before_commit": _before(WriterConnection, "commit"),
    "after_commit": _after(FoldSession, "fold"),
    "before_report": _before(sys.modules[__name__], "report"),
    "snapshots_half_written": _half_written,
    "snapshots_stored": _before(Backfill, "_record"),
    "lines_recorded": _after(Backfill, "_record"),
}
