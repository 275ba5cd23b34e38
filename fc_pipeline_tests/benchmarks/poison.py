"""Catching up with a stream of which one event in a hundred is poison, against the same stream without."""

import gzip
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, open_stage
from fc_pipeline_tests.support.poison_kinds import KINDS

__all__ = ["HEAVY_KINDS", "catch_up_with_poison"]

SHARE = 0.01
ROUNDS = 3
HEAVY_KINDS = frozenset(name for name in KINDS if "MB" in name or "100,000" in name)
"""Left out: what a text of 10 MB costs is its bytes, not that it is poison."""


def catch_up_with_poison(folder: Path, log_path: Path) -> dict[str, float]:
    """Events per second of both, and the one as a share of the other: the median of some rounds, in turn."""
    rates: dict[str, list[float]] = {"good": [], "poisoned": []}
    cpu_seconds: dict[str, list[float]] = {"good": [], "poisoned": []}
    quarantined = 0.0
    with open_stage(folder) as stage:
        for number in range(ROUNDS):
            names = ["good", "poisoned"]
            random.Random(number).shuffle(names)
            for name in names:
                found = _child(stage, name, log_path)
                rates[name].append(found["events_per_second"])
                cpu_seconds[name].append(found["python_cpu_seconds"])
                quarantined = max(quarantined, found["quarantined"])
    good, poisoned = (statistics.median(rates[name]) for name in ("good", "poisoned"))
    return {
        "rounds": ROUNDS,
        "quarantined": quarantined,
        "events_per_second_without": good,
        "events_per_second_with": poisoned,
        "of_without": poisoned / good,
        "python_cpu_of_without": statistics.median(cpu_seconds["poisoned"]) / statistics.median(cpu_seconds["good"]),
    }


def _child(stage: BenchmarkServers, name: str, log_path: Path) -> dict[str, float]:
    """A hub and a run in processes of their own, on a new database."""
    script = "from fc_pipeline_tests.benchmarks.poison import serve; serve()"
    command = [sys.executable, "-c", script, name, str(log_path)]
    hub = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert hub.stdout is not None
    try:
        settings = json.dumps(stage.settings(hub.stdout.readline().strip()).model_dump(mode="json"))
        measured = [sys.executable, "-m", "fc_pipeline_tests.benchmarks.catch_up", "catch_up", settings]
        done = subprocess.run(measured, capture_output=True, text=True, check=False)
    finally:
        hub.terminate()
        hub.wait()
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def serve() -> None:
    """Serve a log, as it is or with poison in it, until this process is ended; prints the URL."""
    import time

    from fc_pipeline.sample_hub.log import log_from_lines
    from fc_pipeline.sample_hub.serving import serving
    from fc_pipeline_tests.support.poison_stream import spoil

    name, log_path = sys.argv[1:3]
    with gzip.open(log_path) as lines:
        log = log_from_lines(lines)
    if name == "poisoned":
        log = spoil(log, 1, SHARE, [kind for kind in KINDS if kind not in HEAVY_KINDS]).log
    with serving(log) as url:
        sys.stdout.write(url + "\n")
        sys.stdout.flush()
        time.sleep(3600)
