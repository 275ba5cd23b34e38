"""`fc-pipeline sync` and `status` with nothing to do, as a user meets them: from the prompt to the prompt.

In a data folder of their own, with nothing running but the hub: the embedded Postgres is started and stopped each time.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from fc_pipeline_tests.benchmarks.stage import hub_process

__all__ = ["sync_with_nothing_to_do"]

ROUNDS = 5
EVENTS = 20_000


def sync_with_nothing_to_do(folder: Path) -> dict[str, float]:
    """The median of some rounds of each, in seconds, after a first sync that reads it all."""
    with hub_process("--events", str(EVENTS), "--fids", "500") as hub_url:
        first = _seconds(folder, hub_url, "sync")
        return {
            "first_sync_seconds": first,
            "idle_sync_seconds": _median([_seconds(folder, hub_url, "sync") for _ in range(ROUNDS)]),
            "status_seconds": _median([_seconds(folder, hub_url, "status") for _ in range(ROUNDS)]),
        }


def _seconds(folder: Path, hub_url: str, command: str) -> float:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}
    environment = {**kept, "FC_DATA_DIR": str(folder / "data"), "FC_HUB_URLS": hub_url}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "fc_pipeline.cli", command], env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return seconds


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]
