"""`fc-pipeline metrics` beside large tables and a year of bookkeeping: scrapes, and rounds of reading each source.

Scrapes are of the command in a process of its own, while its sources are read. Rounds are in this process, one after
another. `message_scans` counts scans of any kind, sequential or by an index, of what is replicated: there is none.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage

from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.metrics.hub_readings import read_hubs
from fc_pipeline.metrics.lake_readings import read_lake
from fc_pipeline.metrics.ledger_readings import LedgerReadings
from fc_pipeline.orchestration.dagster_readings import DagsterReadings
from fc_pipeline.orchestration.instance.instances import DAGSTER_DATABASE
from fc_pipeline.replica import hub_endpoints
from fc_pipeline.services.local_http import local_answer
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.store.session import connect
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.benchmarks.large_tables import fill
from fc_pipeline_tests.benchmarks.stage import hub_process, open_stage

__all__ = ["scrape_metrics"]

_SHARDS: Final = 2
_ROUNDS: Final = 20
_SCRAPES: Final = 300
_BETWEEN_SCRAPES_SECONDS: Final = 0.1

_YEAR: Final = "FROM generate_series({now} - {hours} * 3600, {now}, 3600) AS t"
_HOUR: Final = "to_char(to_timestamp(t) AT TIME ZONE 'UTC', 'YYYY-MM-DD-HH24:00')"
# A block a second of each shard; an hour of a shard is two lines of the ledger, and one per table of rows and events.
_LEDGER: Final = (
    f"INSERT INTO pipeline.shards SELECT s, {{now}} - {{hours}} * 3600, now(), {_SHARDS} "
    f"FROM generate_series(1, {_SHARDS}) AS s",
    "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
    "confirmed_events, rows_written, last_block_at, events_with_rows, events_written, events_without_rows, "
    "events_filtered, events_quarantined, quarantined, micro_batches, bytes, postgres_seconds) "
    f"SELECT s, t + half * 1800, t + half * 1800 + 1799, ARRAY[{{tables}}], {_HOUR}, 'run', 90000, 90000, 90000, "
    "to_timestamp(t + half * 1800 + 1799), 80000, 80000, 10000, 0, 0, 0, 1800, 70000000, 90 "
    f"{_YEAR} CROSS JOIN generate_series(1, {_SHARDS}) AS s CROSS JOIN generate_series(0, 1) AS half",
    f"INSERT INTO pipeline.hour_rows SELECT {_HOUR}, name, s, 1000, 100, 10 "
    f"{_YEAR} CROSS JOIN generate_series(1, {_SHARDS}) AS s CROSS JOIN unnest(ARRAY[{{tables}}]) AS name",
    "INSERT INTO pipeline.snapshots SELECT fid, 1 + fid % 2, fid % 256, 1, 2, 'file', 100, 14, now(), 'run', 1, "
    "'file', now(), 'run', 2 FROM generate_series(1, {fids}) AS fid",
    "INSERT INTO pipeline.quarantine (shard, event_id, raw_sha256, reason, detail, raw) SELECT 1, i, "
    "sha256(i::text::bytea), 'nul_removed', 'one', 'bytes' FROM generate_series(1, 10000) AS i",
    "INSERT INTO pipeline.drift (table_name, fid, bucket, shard, kind, key, snapshot_version, run_id) "
    "SELECT 'casts', i, i % 256, 1, 'missing', '{{}}', 1, 'run' FROM generate_series(1, 10000) AS i",
    "ANALYZE",
)
# Runs of a year, each of five minutes; the newest result of each check and hour, and those of a day; ticks of a week.
_DAGSTER: Final = (
    "INSERT INTO runs (run_id, status, run_body) SELECT 'run' || i, CASE WHEN i % 50 = 0 THEN 'FAILURE' ELSE 'SUCCESS' "
    "END, repeat(md5(i::text), 60) FROM generate_series(1, {hours} * 13) AS i",
    "INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id, execution_status, evaluation_event, "
    "evaluation_event_timestamp, create_timestamp) SELECT '[\"asset' || c || '\"]', 'check', t::text, 'run', "
    "'SUCCEEDED', repeat(md5(t::text), 40), now(), now() FROM generate_series(1, {hours} + 1440) AS t "
    "CROSS JOIN generate_series(1, {checks}) AS c",
    "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body) SELECT 'o' || s, "
    "'selector' || s, 'SUCCESS', 'SENSOR', to_timestamp({now} - i * 30), json_build_object('job_name', 'sensor' || s) "
    "FROM generate_series(1, 20160) AS i CROSS JOIN generate_series(1, 6) AS s",
    "VACUUM ANALYZE",
)


def scrape_metrics(folder: Path, *, rows: int, fids: int, hours: int, checks: int = 60) -> dict[str, dict[str, Any]]:
    """Fill tables of messages with `rows` rows each, bookkeeping of so many users and hours, and read the metrics."""
    with open_stage(folder) as stage, hub_process("--events", "1000", "--port", "0") as hub_url:
        settings = stage.settings(hub_url)
        engine = sa.create_engine(settings.sqlalchemy_url())
        ensure_schema(engine)
        engine.dispose()
        fill(settings, rows)
        _fill_bookkeeping(settings, fids=fids, hours=hours, checks=checks)
        files = _fill_lake(settings, hours)
        before = _message_scans(settings)
        rounds = _rounds(settings)
        scrapes, cpu = _scrapes(settings)
        scans = _message_scans(settings) - before
    whole = {"message_rows": rows, "fids": fids, "hours": hours, "lake_files": files}
    whole |= {"message_scans": scans, "scrape_cpu_ms": cpu}
    return {"metrics": whole, "metrics_ms": {"scrape": scrapes, **rounds}}


def _fill_bookkeeping(settings: Settings, *, fids: int, hours: int, checks: int) -> None:
    tables = ", ".join(f"'{name}'" for name in DATA_TABLES)
    now = int(time.time()) // 3600 * 3600
    DagsterPostgresStorage(settings.sqlalchemy_url(DAGSTER_DATABASE))  # makes its tables
    for database, statements in ((None, _LEDGER), (DAGSTER_DATABASE, _DAGSTER)):
        with closing(connect(settings.libpq_url(database))) as session, session.cursor() as cursor:
            session.autocommit = True
            for statement in statements:
                cursor.execute(statement.format(now=now, hours=hours, fids=fids, checks=checks, tables=tables))


def _fill_lake(settings: Settings, hours: int) -> int:
    """Empty files, named as those of compacted hours: none is opened."""
    root = Path(settings.lake_uri) / "hub_events"
    now = Hour.of(time.time()).start_unix
    for start in range(now - hours * 3600, now, 3600):
        for shard in range(1, _SHARDS + 1):
            folder = root / f"hour={Hour.of(start).folder}" / f"shard={shard}"
            folder.mkdir(parents=True)
            (folder / f"{start:020d}-{start + 3599:020d}.parquet").touch()
    return len(EventLog.open(settings.lake_uri, create=False).all_files())


def _rounds(settings: Settings) -> dict[str, dict[str, float]]:
    ledger = LedgerReadings(lambda: settings)
    sources: dict[str, Callable[[], object]] = {
        "ledger": ledger.read,
        "dagster": DagsterReadings(lambda: settings).read,
        "hubs": lambda: read_hubs(hub_endpoints(settings)),
        "lake": lambda: read_lake(settings),
    }
    first = {name: _milliseconds(read) for name, read in sources.items()}
    found = {f"round of {name}": [_milliseconds(read) for _ in range(_ROUNDS)] for name, read in sources.items()}
    ledger.close()
    return {f"first of {name}": _figures([value]) for name, value in first.items()} | {
        name: _figures(values) for name, values in found.items()
    }


def _scrapes(settings: Settings) -> tuple[dict[str, float], float]:
    """Their milliseconds, and how much processor time each took, with what the sources read meanwhile."""
    with _command(settings) as (process, port):
        deadline = time.monotonic() + 60
        while b'fc_source_up{source="lake"} 1.0' not in local_answer(port, "/metrics", timeout_seconds=10)[1]:
            if time.monotonic() > deadline:
                raise RuntimeError("the lake is not read")
            time.sleep(0.2)
        milliseconds: list[float] = []
        cpu = _cpu_seconds(process)
        for _ in range(_SCRAPES):
            milliseconds.append(_milliseconds(lambda: local_answer(port, "/metrics", timeout_seconds=10)))
            time.sleep(_BETWEEN_SCRAPES_SECONDS)
        cpu = _cpu_seconds(process) - cpu
    return _figures(milliseconds), cpu * 1000 / _SCRAPES


@contextmanager
def _command(settings: Settings) -> Generator[tuple[psutil.Process, int]]:
    variables = {
        "DAGSTER_HOME": str(project_root()),
        "FC_DATA_DIR": str(settings.data_dir),
        "FC_POSTGRES_URL": settings.libpq_url(),
        "FC_LAKE_URI": settings.lake_uri,
        "FC_HUB_URLS": ",".join(settings.hub_urls),
    }
    command = [sys.executable, "-m", "fc_pipeline.cli", "metrics", "--port", "0"]
    process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield psutil.Process(process.pid), int(process.stdout.readline().rsplit(":", 1)[1].split("/")[0])
    finally:
        process.terminate()
        process.wait()


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _message_scans(settings: Settings) -> int:
    """How often any table of what is replicated was read, so far."""
    with closing(connect(settings.libpq_url())) as session, session.cursor() as cursor:
        time.sleep(1.5)  # sessions tell their counts at most once a second
        cursor.execute(
            "SELECT sum(seq_scan + coalesce(idx_scan, 0))::bigint FROM pg_stat_user_tables WHERE schemaname = 'public'"
        )
        [(scans,)] = cursor.fetchall()
    return scans


def _milliseconds(read: Callable[[], object]) -> float:
    started = time.perf_counter()
    read()
    return (time.perf_counter() - started) * 1000


def _figures(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
        "max": ordered[-1],
    }
