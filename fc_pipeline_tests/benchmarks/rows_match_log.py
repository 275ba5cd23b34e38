"""The check `rows_match_log` of all tables beside the fold of the same events, on small tables and on large ones."""

import statistics
import time
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.run import RAW_LOG, MicroBatchRun
from fc_pipeline.hours import Hour
from fc_pipeline.reconcile.log_comparison import compare_with_log
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.benchmarks.large_tables import fill
from fc_pipeline_tests.benchmarks.stage import hub_process, open_stage

__all__ = ["compare_rows_with_log"]

_TURNS: Final = 3
_FIRST_HOUR: Final = Hour.from_key("2026-11-01-00:00")
_LAST_HOUR: Final = Hour.from_key("2026-11-02-00:00")
_OF_SNAPSHOTS: Final = "(((40000000 + i / 100)::bigint << 14) | 16383)"
"""Versions of rows that snapshots brought before the feed was read, as most of a whole network's are."""


def compare_rows_with_log(folder: Path, log_path: Path, *, rows: int) -> dict[str, Any]:
    """Catch up, rebuild all tables from the raw log, and check them; then once more beside `rows` older rows.

    Gives the median seconds of a check, and what share it is of the fold of the same events from the raw log.
    """
    with open_stage(folder) as stage, hub_process("--log", str(log_path)) as hub_url:
        settings = stage.settings(hub_url)
        with open_replica(settings) as replica:
            window = HourWindow(_FIRST_HOUR, _LAST_HOUR)
            MicroBatchRun(replica, "catch_up", window, (RAW_LOG, *DATA_TABLES)).execute()
            events = compare_with_log(replica, tuple(DATA_TABLES)).events
            fold_seconds = _fold_again(replica, window)
            small = [_check_seconds(replica, events) for _ in range(_TURNS)]
            fill(settings, rows, version=_OF_SNAPSHOTS)
            large = [_check_seconds(replica, events) for _ in range(_TURNS)]
    seconds = statistics.median(small)
    return {
        "events": events,
        "fold_seconds": fold_seconds,
        "check_seconds": seconds,
        "check_of_fold": seconds / fold_seconds,
        "check_seconds_of_100000": seconds * 100_000 / events,
        "rows_filled_each": rows,
        "check_seconds_large": statistics.median(large),
        "large_of_small": statistics.median(large) / seconds,
    }


def _fold_again(replica: Replica, window: HourWindow) -> float:
    """Seconds in which all tables, emptied, are made from the raw log."""
    with replica.engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {', '.join(DATA_TABLES)}, pipeline.coverage"))
    started = time.perf_counter()
    MicroBatchRun(replica, "fold", window, tuple(DATA_TABLES), rebuild=False).execute()
    return time.perf_counter() - started


def _check_seconds(replica: Replica, events: int) -> float:
    started = time.perf_counter()
    found = compare_with_log(replica, tuple(DATA_TABLES))
    seconds = time.perf_counter() - started
    wrong = {name: table.differences for name, table in found.tables.items() if table.wrong}
    if wrong or found.events != events:
        raise SystemExit(f"a false alarm, or another number of events: {wrong}")
    return seconds
