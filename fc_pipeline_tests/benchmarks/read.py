"""What apps read from a network of hundreds of thousands of users, cold and warm, while the feed is folded.

Cold is the first statement of a session whose server has just started, with none of its files in the machine's memory.
Warm is one session that makes all calls in turn beside a writer. `hot_ms` is the median of a few calls for what is most
popular, `pages` what a call reads of tables and indexes, cached or not, and `cpu_p95_ms` the time of its backend on a
processor: neither depends on what else the machine does.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fc_pipeline.config.settings import Settings
from fc_pipeline.store.session import PsycopgConnection, connect
from fc_pipeline_tests.benchmarks.network import NetworkSize, fill_network
from fc_pipeline_tests.benchmarks.read_calls import CALLS, Drawn, draw, unmeasured
from fc_pipeline_tests.benchmarks.read_walks import Pull, walk_all
from fc_pipeline_tests.benchmarks.read_writer import written_to
from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, open_stage

__all__ = ["read_as_apps_do", "read_network"]

EVENTS_PER_SECOND = 500.0
WRITERS_USERS = 2_000
_SEED = 16
_QUIET_ROUNDS = 10
_HOT_ROUNDS = 5
_READ_SECONDS = 300.0
_PULL_SECONDS = 20.0
_WRITER_SECONDS = _READ_SECONDS + 300.0

Figures = dict[str, dict[str, Any]]


def read_as_apps_do(folder: Path, size: NetworkSize, *, rounds: int = 300) -> Figures:
    """Fill a network and read it; gives figures of the whole, and of each call."""
    with open_stage(folder) as stage:
        settings = stage.settings()
        filled = fill_network(settings, size, end_unix=int(time.time()))
        figures = read_network(stage, settings, rounds=rounds)
    return {**figures, "read": {**filled, **figures["read"]}}


def read_network(stage: BenchmarkServers, settings: Settings, *, rounds: int) -> Figures:
    """Read a network that is filled already. Raises RuntimeError for a function of schema `api` without a call here."""
    if unmeasured():
        raise RuntimeError(f"nothing calls {', '.join(sorted(unmeasured()))}")
    with closing(_session(settings)) as connection:
        drawn = draw(connection)
    cold, settings = _cold(stage, settings, drawn)
    with closing(_session(settings)) as connection:
        calls = _quiet(connection, drawn)
        pull = Pull(connection)
        with written_to(
            settings, users=WRITERS_USERS, events_per_second=EVENTS_PER_SECOND, seconds=_WRITER_SECONDS
        ) as writer:
            warm = _warm(connection, drawn, rounds)
            walked = walk_all(connection, drawn)
            pull.pull(_PULL_SECONDS)
            writer.stop()
        whole = {"calls": len(CALLS), **writer.figures, **walked, **pull.finish()}
    return {
        "read": whole,
        "read_calls": {name: {**warm[name], "cold_ms": cold[name], **calls[name]} for name in CALLS},
    }


def _session(settings: Settings) -> PsycopgConnection:
    connection = connect(settings.libpq_url())
    connection.autocommit = True
    return connection


def _cold(stage: BenchmarkServers, settings: Settings, drawn: Drawn) -> tuple[dict[str, float], Settings]:
    random = Random(_SEED)
    found: dict[str, float] = {}
    for name, statement in CALLS.items():
        settings = stage.restart_cold(settings)
        with closing(_session(settings)) as connection:
            found[name] = _milliseconds(connection, statement, drawn.arguments(random))
    return found, settings


def _quiet(connection: PsycopgConnection, drawn: Drawn) -> Figures:
    """What each call reads while nobody writes, and which tables from one end to the other."""
    random = Random(_SEED)
    found: Figures = {}
    for name, statement in CALLS.items():
        hot = [_milliseconds(connection, statement, drawn.hottest_arguments()) for _ in range(_HOT_ROUNDS)]
        scans, pages = _reads(connection)
        for _ in range(_QUIET_ROUNDS):
            _milliseconds(connection, statement, drawn.arguments(random))
        scans_after, pages_after = _reads(connection)
        found[name] = {
            "hot_ms": float(np.median(hot)),
            "pages": (pages_after - pages) / _QUIET_ROUNDS,
            "seq_scans": (scans_after - scans).total(),
            "scanned": " ".join(sorted(scans_after - scans)),
        }
    return found


def _reads(connection: PsycopgConnection) -> tuple[Counter[str], int]:
    """Sequential scans of each table until now, and pages of tables and indexes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = 'public'")
        scans = Counter(dict(cursor.fetchall()))
        cursor.execute(
            "SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0) "
            "+ coalesce(toast_blks_read + toast_blks_hit, 0))::bigint FROM pg_statio_user_tables"
        )
        [(pages,)] = cursor.fetchall()
    return scans, pages


def _warm(connection: PsycopgConnection, drawn: Drawn, rounds: int) -> Figures:
    """All calls in turn, `rounds` times or for _READ_SECONDS; the first round is not counted."""
    random = Random(_SEED)
    cpu = _cpu_of(connection)
    wall_ms: dict[str, list[float]] = {name: [] for name in CALLS}
    cpu_ms: dict[str, list[float]] = {name: [] for name in CALLS}
    end = time.monotonic() + _READ_SECONDS
    for number in range(rounds + 1):
        for name, statement in CALLS.items():
            arguments, before = drawn.arguments(random), cpu()
            taken = _milliseconds(connection, statement, arguments)
            if number:
                wall_ms[name].append(taken)
                cpu_ms[name].append(cpu() - before)
        if number and time.monotonic() > end:
            break
    return {
        name: {
            "asked": len(wall_ms[name]),
            "p50_ms": float(np.quantile(wall_ms[name], 0.5)),
            "p95_ms": float(np.quantile(wall_ms[name], 0.95)),
            "cpu_p95_ms": float(np.quantile(cpu_ms[name], 0.95)),
        }
        for name in CALLS
    }


def _cpu_of(connection: PsycopgConnection) -> Callable[[], float]:
    """Tells the milliseconds that the session's backend has been on a processor."""
    schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    return lambda: int(schedule.read_text(encoding="ascii").split()[0]) / 1e6


def _milliseconds(connection: PsycopgConnection, statement: str, arguments: dict[str, Any]) -> float:
    with connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute(statement, arguments)
        cursor.fetchall()
        return (time.perf_counter() - started) * 1000
