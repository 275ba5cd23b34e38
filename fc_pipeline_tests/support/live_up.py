"""An `up` that follows a live hub, and its runs."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from dagster import DagsterRunStatus, RunRecord, RunsFilter

from fc_pipeline.orchestration.assets.hourly import FOLLOW_TAG
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.up import Up

FOLLOW_SECONDS = "8"  # the successor is asked for as soon as a run has begun
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Live:
    """A hub that grows, and `up` beside it."""

    hub: EventLog
    pipeline: Pipeline
    up: Up

    def written(self) -> dict[str, dict[int, tuple[int, int]]]:
        """Per run in order, and per shard, the heights that it has covered: one range, for nobody wrote in between."""
        rows = self.pipeline.bench.rows(
            "SELECT run_id, shard, min(from_height), max(to_height), sum(to_height - from_height + 1) "
            "FROM pipeline.coverage GROUP BY 1, 2 ORDER BY 3"
        )
        found: dict[str, dict[int, tuple[int, int]]] = {}
        for run_id, shard, first, last, heights in rows:
            assert last - first + 1 == heights
            found.setdefault(run_id, {})[shard] = (first, last)
        return found

    def follower(self) -> str:
        """The run that writes now, once it does."""
        before = self.written()

        def writer() -> str | None:
            grown = [run for run, heights in self.written().items() if heights != before.get(run)]
            record = self.record(grown[-1]) if grown else None
            return grown[-1] if record and record.dagster_run.status == DagsterRunStatus.STARTED else None

        return until(writer, "nobody follows")

    def record(self, run_id: str) -> RunRecord:
        (found,) = self.pipeline.instance.get_run_records(RunsFilter(run_ids=[run_id]))
        return found

    def followers(self) -> list[RunRecord]:
        """Those of the sensor, oldest first."""
        return list(self.pipeline.instance.get_run_records(RunsFilter(tags={FOLLOW_TAG: "true"}), ascending=True))

    def status(self, run_id: str) -> DagsterRunStatus:
        return self.record(run_id).dagster_run.status

    def until_over(self, run_id: str) -> RunRecord:
        until(lambda: self.record(run_id).dagster_run.is_finished, f"run {run_id} does not end")
        return self.record(run_id)


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


@pytest.fixture
def live(database: Database, data_dir: Any) -> Iterator[Live]:
    now = int(time.time())
    hub = log_from_lines(generate(13, fids=50, events=200, events_per_second=20.0, start_unix=now - 12))
    with (
        serving(hub, growth=Endless(hub, events_per_second=20.0, start_unix=now)) as url,
        open_pipeline(database, data_dir, url) as pipeline,
    ):
        variables = {"FC_POSTGRES_URL": database.url, "FC_HUB_URLS": url, "FC_FOLLOW_SECONDS": FOLLOW_SECONDS}
        up = Up(data_dir, free_port(), **variables)
        up.wait_until_up()
        yield Live(hub, pipeline, up)
        if up.process.poll() is None:
            up.process.send_signal(signal.SIGINT)
            up.process.wait(TIMEOUT_SECONDS)


def process_of(live: Live, run_id: str) -> int:
    said = [entry.message for entry in live.pipeline.instance.all_logs(run_id)]
    (pid,) = [match[1] for text in said if (match := re.search(r"Started process for run \(pid: (\d+)\)", text))]
    return int(pid)
