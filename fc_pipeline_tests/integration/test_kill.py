"""Runs that are killed with SIGKILL at random points: nothing is lost, nothing is there twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.workbench import OUTPUTS, Workbench, workbench

KILLS = 20
SEED = int(os.environ.get("KILL_SEED", "20261123"))
EARLY_KILLS = 6

LAUNCHER = """
import json, os, sys
from fc_pipeline.hours import Hour
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.replica import open_replica
from fc_pipeline.feed.run import MicroBatchRun
from fc_pipeline.config.settings import Settings

def execute(given):
    with open_replica(Settings(**given["settings"])) as replica:
        window = HourWindow(*(Hour.from_key(key) for key in given["hours"]))
        MicroBatchRun(replica, given["run_id"], window, given["outputs"]).execute()

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        execute(json.loads(line))
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Imports everything once; then each line that it is given is a run in a process of its own."""


class Launcher:
    """Starts runs one after the other and says how they ended."""

    def __init__(self, bench: Workbench, hours: list[str]) -> None:
        settings = bench.replica.settings.model_dump(mode="json", exclude={"hub_headers"})
        self._given = {"settings": settings, "outputs": OUTPUTS, "hours": hours}
        command = [sys.executable, "-c", LAUNCHER]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def start(self, run_id: str) -> int:
        """The process id of a new run."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**self._given, "run_id": run_id}) + "\n")
        return self._number()

    def wait(self) -> int:
        """The exit code of the run, or the negative signal that ended it."""
        return self._number()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def covered(bench: Workbench) -> int:
    """How many blocks the ledger covers."""
    return sum(last - first + 1 for _, first, last in bench.ledger())


@pytest.mark.slow
def test_a_run_killed_twenty_times_leaves_what_an_undisturbed_run_leaves(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    seeded = random.Random(SEED)
    print(f"KILL_SEED={SEED}")
    lines = list(generate(31, fids=60, events=6_000, events_per_second=30.0, start_unix=HOUR_UNIX + 3600 - 100))
    log = log_from_lines(lines)
    heights = [(n, shard.event_ids[0] >> 14, shard.event_ids[-1] >> 14) for n, shard in sorted(log.shards.items())]
    blocks = sum(last - first + 1 for _, first, last in heights)
    # A few runs die before they have written anything; the others as they come to random heights, and a little later.
    goals = [0] * EARLY_KILLS + sorted(seeded.randrange(blocks * 4 // 5) for _ in range(KILLS - EARLY_KILLS))
    kills: list[int] = []
    with serving(log) as url, workbench(database, tmp_path / "lake", url, batch_events=50) as bench:
        span = bench.missing_span()
        with Launcher(bench, [span.first.key, span.last.key]) as launcher:
            for goal in goals:
                pid = launcher.start(f"run {len(kills)}")
                while covered(bench) < goal:
                    time.sleep(0.002)
                time.sleep(seeded.uniform(0.0, 0.04) if goal else seeded.uniform(0.0, 0.4))
                os.kill(pid, signal.SIGKILL)
                assert launcher.wait() == -signal.SIGKILL
                kills.append(covered(bench))
            print(f"heights covered after each kill: {kills}")
            assert kills[-1] < blocks
            launcher.start("last")
            assert launcher.wait() == 0

        assert bench.ledger() == heights
        rows = bench.rows("SELECT sum(events) AS n, sum(to_height - from_height + 1) AS heights FROM pipeline.coverage")
        assert rows[0].n == len(lines)
        assert rows[0].heights == blocks
        assert bench.logged() == {number: list(shard.raws) for number, shard in log.shards.items()}
        killed = bench.dump(), bench.quarantine()
        bench.tables.empty()
        bench.rebuild()
        assert (bench.dump(), bench.quarantine()) == killed
        assert bench.ledger() == heights
        with fresh_database(postgres) as other, workbench(other, tmp_path / "other", url) as undisturbed:
            undisturbed.run()
            assert (undisturbed.dump(), undisturbed.quarantine()) == killed
