"""A round of snapshots by one worker and by several, of a hub that takes its time: how much faster, what waits.

Each worker is a process that takes ranges of buckets as `fc-pipeline backfill --workers` does, but without Dagster.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.backfill.shared_round import BucketClaims, join_or_begin, left_of
from fc_pipeline.config.settings import Settings
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.replica import open_replica
from fc_pipeline.store.fid_listings import Listing
from fc_pipeline_tests.benchmarks.by_fid import memory_hub
from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, open_stage, peak_rss_bytes, rss_bytes

WORKERS: Final = (1, 4)
BUCKETS_PER_RUN: Final = 16
LOOK_SECONDS: Final = 0.02
_WAITING: Final = sa.text(
    "SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name LIKE 'fc_pipeline worker%'"
)


def share_a_round(folder: Path, log_path: Path, delay_seconds: float) -> dict[str, dict[str, float]]:
    """The same users into a new database each, by one worker and by several at once."""
    figures: dict[str, dict[str, float]] = {}
    with memory_hub(log_path, delay_seconds) as hub_url, open_stage(folder) as stage:
        for workers in WORKERS:
            figures[f"workers_{workers}"] = _round_by(stage, hub_url, workers)
    one, several = (figures[f"workers_{workers}"] for workers in WORKERS)
    several["times_faster"] = one["seconds"] / several["seconds"]
    return figures


def _round_by(stage: BenchmarkServers, hub_url: str, workers: int) -> dict[str, float]:
    settings = stage.settings(hub_url)
    given = json.dumps(settings.model_dump(mode="json"))
    with open_replica(settings) as replica, ExitStack() as stack:
        listing = join_or_begin(replica, range(BUCKETS)).listing
        command = [sys.executable, "-m", "fc_pipeline_tests.benchmarks.workers", given, str(listing.id)]
        crew = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(workers)
        ]
        for one in crew:
            _heard(one)
        cpu, started = stage.postgres_cpu_seconds(), time.perf_counter()
        for one in crew:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        waiting, sessions = _watched(replica.engine, crew)
        seconds = time.perf_counter() - started
        done = [json.loads(_heard(one)) for one in crew]
        with replica.engine.connect() as connection:
            assert not left_of(connection, listing)
        return {
            "seconds": seconds,
            "fids": sum(one["fids"] for one in done),
            "requests_per_second": sum(one["requests"] for one in done) / seconds,
            "share_of_time_waiting_for_locks": waiting / max(1, sessions),
            "cpu_seconds": sum(one["cpu_seconds"] for one in done) + stage.postgres_cpu_seconds() - cpu,
            "memory_above_idle_mb": max(one["memory_above_idle_mb"] for one in done),
        }


def _watched(engine: sa.Engine, crew: Sequence["subprocess.Popen[str]"]) -> tuple[int, int]:
    """Until all have ended: how many sessions were seen waiting for a lock, of how many seen, look by look."""
    waiting = sessions = 0
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while any(one.poll() is None for one in crew):
            now_waiting, now = connection.execute(_WAITING).one()
            waiting, sessions = waiting + now_waiting, sessions + now
            time.sleep(LOOK_SECONDS)
    return waiting, sessions


def _heard(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit("a worker failed")
    return line


def _work(settings: Settings, listing_id: int) -> None:
    with open_replica(settings) as replica:
        idle = rss_bytes()
        listing = Listing(listing_id, "bench", tuple(range(BUCKETS)))
        print("ready", flush=True)
        sys.stdin.readline()
        cpu, fids, requests = time.process_time(), 0, 0
        with BucketClaims(replica.engine, listing) as claims:
            while buckets := claims.claim(BUCKETS_PER_RUN):
                scope = BackfillScope(tuple(buckets))
                done = Backfill(replica, "worker", scope, round_name=_name_of(replica.engine, listing_id)).execute()
                fids, requests = fids + done.fids, requests + done.requests
                claims.release()
        figures = {
            "fids": fids,
            "requests": requests,
            "cpu_seconds": time.process_time() - cpu,
            "memory_above_idle_mb": (peak_rss_bytes() - idle) / 1e6,
        }
        print(json.dumps(figures), flush=True)


def _name_of(engine: sa.Engine, listing_id: int) -> str:
    with engine.connect() as connection:
        query = sa.text("SELECT name FROM pipeline.fid_listings WHERE id = :id")
        return str(connection.scalar(query, {"id": listing_id}))


if __name__ == "__main__":
    _work(Settings.model_validate(json.loads(sys.argv[1])), int(sys.argv[2]))
