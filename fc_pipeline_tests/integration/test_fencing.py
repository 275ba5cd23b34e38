"""A run that is paused past its lease and woken after another one took over: it writes nothing more, and says why."""

import json
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import OUTPUTS, Workbench, workbench

TIMEOUT_SECONDS = 90.0

FOLLOWER = """
import json, signal, sys
from fc_pipeline.hours import Hour
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.replica import open_replica
from fc_pipeline.feed.run import MicroBatchRun
from fc_pipeline.config.settings import Settings

given = json.loads(sys.argv[1])
asked_to_stop = []
signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.append(True))
with open_replica(Settings(**given["settings"])) as replica:
    window = HourWindow(*(Hour.from_key(key) for key in given["hours"]))
    run = MicroBatchRun(replica, given["run_id"], window, given["outputs"], follow_seconds=3600.0)
    run.should_stop = lambda: bool(asked_to_stop)
    run.execute()
"""


@contextmanager
def follower(bench: Workbench, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """A run that follows the present hour, in a process of its own."""
    present = Hour.of(time.time())
    given = {
        "settings": bench.replica.settings.model_dump(mode="json", exclude={"hub_headers"}),
        "hours": [present.key, present.next.key],
        "run_id": run_id,
        "outputs": OUTPUTS,
    }
    process = subprocess.Popen([sys.executable, "-c", FOLLOWER, json.dumps(given)], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def lines_of(bench: Workbench, run_id: str) -> list[tuple[int, ...]]:
    """What the ledger says that a run has written: shard, heights, events and when."""
    query = "SELECT shard, from_height, to_height, events, committed_at FROM pipeline.coverage WHERE run_id = :run_id"
    return [tuple(row) for row in bench.rows(query + " ORDER BY 1, 2", run_id=run_id)]


def heights_of(bench: Workbench, run_id: str) -> int:
    return sum(line[2] - line[1] + 1 for line in lines_of(bench, run_id))


@pytest.mark.slow
def test_a_run_that_was_paused_and_taken_over_writes_nothing_when_it_wakes(database: Database, tmp_path: Path) -> None:
    now = int(time.time())
    log = log_from_lines(generate(11, fids=50, events=400, events_per_second=40.0, start_unix=now - 12))
    growth = Endless(log, events_per_second=40.0, start_unix=now)
    with (
        serving(log, growth=growth) as url,
        workbench(database, tmp_path / "lake", url, batch_seconds=0.2) as bench,
        follower(bench, "paused") as paused,
    ):
        until(lambda: heights_of(bench, "paused") > 25, "it writes nothing")
        paused.send_signal(signal.SIGSTOP)
        with follower(bench, "successor") as successor:
            # A minute passes. Where the run was caught inside a transaction, Postgres ends its session meanwhile.
            with bench.replica.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE pipeline.leases SET heartbeat_at = now() - interval '61 seconds'")
            written = lines_of(bench, "paused")
            until(lambda: heights_of(bench, "successor") > 4, "nobody takes over")

            paused.send_signal(signal.SIGCONT)
            _, said = paused.communicate(timeout=TIMEOUT_SECONDS)
            assert paused.returncode == 1
            assert (
                "LeaseLost: run paused no longer holds the lease on shard" in said
                or "session of run paused is gone" in said
            )
            assert "reads on from the ledger" in said
            after_waking = heights_of(bench, "successor")
            until(lambda: heights_of(bench, "successor") > after_waking + 2, "the successor was disturbed")
            successor.send_signal(signal.SIGTERM)
            successor.communicate(timeout=TIMEOUT_SECONDS)
            assert successor.returncode == 0

        assert lines_of(bench, "paused") == written
        assert bench.rows("SELECT * FROM pipeline.leases") == []
        assert len(bench.ledger()) == 2  # one range per shard: no hole between the two, and no overlap can be
        # A file that the woken run may have left in the raw log is harmless: the log is of the hub's bytes, whoever
        # wrote them, and gives each block once.
        logged = bench.logged()
        assert bench.rows("SELECT sum(events) AS n FROM pipeline.coverage")[0].n <= sum(map(len, logged.values()))
        for shard, _, last in bench.ledger():
            rows = log.shards[shard]
            served = rows.raws[: bisect_left(rows.event_ids, (last + 1) << 14)]
            assert logged[shard][: len(served)] == served
        tables, quarantine = bench.dump(), bench.quarantine()
        bench.tables.empty()
        bench.rebuild()
        assert (bench.dump(), bench.quarantine()) == (tables, quarantine)
