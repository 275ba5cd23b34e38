"""Backfilling users' history from a hub on this machine: in a child process, which prints what it took as JSON."""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.config.settings import Settings
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, hub_process, open_stage, peak_rss_bytes, rss_bytes
from fc_pipeline_tests.support.events import HOUR_UNIX, NOW, block, cast_add, chain_event, merge, merge_chain

BIG_FID_MESSAGES = 200_000
BLOCK_MESSAGES = 10_000


def backfill_users(folder: Path, log_path: Path) -> dict[str, float]:
    """All users of a generated log, in every kind of message; the hub is another process of this machine."""
    with open_stage(folder) as stage, hub_process("--log", str(log_path)) as hub_url:
        return backfill_of(stage, hub_url)


def backfill_big_user(folder: Path) -> dict[str, float]:
    """One user with very many casts, for the memory that it takes."""
    log_path = folder / "big.ndjson.gz"
    with gzip.open(log_path, "wb", compresslevel=1) as file:
        file.writelines(raw + b"\n" for raw in _casts_of(1, BIG_FID_MESSAGES))
    with open_stage(folder) as stage, hub_process("--log", str(log_path)) as hub_url:
        return backfill_of(stage, hub_url)


def _casts_of(fid: int, messages: int) -> Iterator[bytes]:
    registration = merge_chain(chain_event("id_register", fid, {"eventType": "Register", "to": "0x" + "aa" * 20}))
    yield from block(1, [registration], 1, HOUR_UNIX - 1)
    for height, at in enumerate(range(0, messages, BLOCK_MESSAGES), start=2):
        numbers = range(at, min(at + BLOCK_MESSAGES, messages))
        casts = [merge(cast_add(fid, f"cast {n}, about as long as most casts are", NOW - n)) for n in numbers]
        yield from block(height, casts, 1, HOUR_UNIX + height)


def backfill_of(stage: BenchmarkServers, hub_url: str) -> dict[str, float]:
    """All users of a hub into a new database, in a process of its own."""
    settings = json.dumps(stage.settings(hub_url).model_dump(mode="json"))
    before = stage.postgres_cpu_seconds()
    command = [sys.executable, "-m", "fc_pipeline_tests.benchmarks.backfill", settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"backfill failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    figures["postgres_cpu_seconds"] = stage.postgres_cpu_seconds() - before
    both = figures["python_cpu_seconds"] + figures["postgres_cpu_seconds"]
    figures["cpu_ms_per_request"] = 1_000 * both / figures["requests"]
    return figures


def _backfill(replica: Replica) -> dict[str, float]:
    """HTTP to lake to commit, for every user of the hub."""
    idle = rss_bytes()
    started, cpu = time.perf_counter(), time.process_time()
    progress = Backfill(replica, "bench", BackfillScope()).execute()
    seconds = time.perf_counter() - started
    return {
        "fids": progress.fids,
        "requests": progress.requests,
        "messages": progress.reconciled.messages,
        "seconds": seconds,
        "requests_per_second": progress.requests / seconds,
        "messages_per_second": progress.reconciled.messages / seconds,
        "python_cpu_seconds": time.process_time() - cpu,
        "rows_written": sum(written.rows for written in progress.reconciled.written.values()),
        "memory_above_idle_mb": (peak_rss_bytes() - idle) / 1e6,
    }


if __name__ == "__main__":
    settings = Settings.model_validate(json.loads(sys.argv[1]))
    with open_replica(settings) as opened:
        sys.stdout.write(json.dumps(_backfill(opened)) + "\n")
