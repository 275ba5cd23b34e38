"""A child process that folds a generated log beside readers, one block each second, until SIGTERM; then prints figures.

Its users are the most popular ones of the network that is read, so that both are about the same rows.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from fc_pipeline.config.settings import Settings
from fc_pipeline.fold.micro_batch import MicroBatch, prepare
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import batch_from_raws
from fc_pipeline.hub.wire import height_of
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["Writer", "written_to"]

_SEED = 20_261_129
_SHARD = 1


class Writer:
    """The process, and what it said at its end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.figures: dict[str, float] = {}

    def stop(self) -> None:
        """End it. Raises RuntimeError if it had nothing more to write: part of what was read was read in peace."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the writer ended before its readers, with {self._process.returncode}")
        self._process.terminate()
        said, _ = self._process.communicate()
        self.figures = json.loads(said)


@contextmanager
def written_to(settings: Settings, *, users: int, events_per_second: float, seconds: float) -> Generator[Writer]:
    """Fold beside what is done here, for at most so many seconds."""
    command = [sys.executable, "-m", __name__, settings.libpq_url(), *map(str, (users, events_per_second, seconds))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "folding\n":
            raise RuntimeError("the writer did not start")
        yield Writer(process)
    finally:
        process.kill()
        process.wait()


def _fold(libpq_url: str, users: int, events_per_second: float, seconds: float) -> dict[str, float]:
    lines = generate(
        _SEED,
        fids=users,
        events=int(events_per_second * seconds),
        shards=1,
        start_unix=int(time.time()),
        events_per_second=events_per_second,
    )
    blocks = _blocks(log_from_lines(lines))
    is_over = False

    def end(_: int, __: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    fold_ms: list[float] = []
    behind = 0.0
    events = rows = 0
    with FoldSession(libpq_url, "bench") as session:
        sys.stdout.write("folding\n")
        sys.stdout.flush()
        started = time.perf_counter()
        for second, block in enumerate(blocks):
            time.sleep(max(0.0, started + second - time.perf_counter()))
            if is_over:
                break
            before = time.perf_counter()
            behind = max(behind, before - started - second)
            written = session.fold(block)
            fold_ms.append((time.perf_counter() - before) * 1000)
            events += block.events
            rows += sum(table.rows for table in written.values())
        taken = time.perf_counter() - started
    return {
        "events_folded": events,
        "rows_written": rows,
        "events_per_second": events / taken,
        "fold_ms_median": float(np.median(fold_ms)),
        "fold_ms_p95": float(np.quantile(fold_ms, 0.95)),
        "seconds_behind_max": behind,
    }


def _blocks(log: EventLog) -> Generator[MicroBatch]:
    ids, raws = list(log.shards[_SHARD].event_ids), log.shards[_SHARD].raws
    heights = [height_of(event_id) for event_id in ids]
    starts = [at for at in range(len(ids)) if at == 0 or heights[at] != heights[at - 1]]
    for first, last in pairwise([*starts, len(ids)]):
        batch = batch_from_raws(_SHARD, heights[first], heights[first], raws[first:last])
        hour = Hour.of(max(batch.block_times.values()))
        yield prepare(batch, partition=hour.key, hour_unix=hour.start_unix, tables=tuple(DATA_TABLES), shard_count=None)


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    sys.stdout.write(json.dumps(_fold(url, int(numbers[0]), float(numbers[1]), float(numbers[2]))) + "\n")
