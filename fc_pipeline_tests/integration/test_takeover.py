"""Runs that follow a live hub one after the other under a real `up`, and what becomes of those asked to end."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import pytest
from dagster import DagsterRunStatus, RunRecord, RunsFilter

from fc_pipeline.assets.hourly import FOLLOW_TAG
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.cli.test_up import Up, data_dir  # noqa: F401 - data_dir is a fixture
from fc_pipeline_tests.conftest import Database
from fc_pipeline_tests.pipeline import Pipeline, open_pipeline

TAKEOVERS = 3
FOLLOW_SECONDS = "8"  # the successor is asked for as soon as a run has begun
PATIENCE_SECONDS = 120.0


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
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


@pytest.fixture
def live(database: Database, data_dir: Any) -> Iterator[Live]:  # noqa: F811
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
            up.process.wait(PATIENCE_SECONDS)


def process_of(live: Live, run_id: str) -> int:
    said = [entry.message for entry in live.pipeline.instance.all_logs(run_id)]
    (pid,) = [match[1] for text in said if (match := re.search(r"Started process for run \(pid: (\d+)\)", text))]
    return int(pid)


def terminate_in_ui(live: Live, run_id: str) -> None:
    query = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
    answer = httpx.post(f"{live.up.ui_url}/graphql", json={"query": query, "variables": {"id": run_id}}, timeout=60)
    assert answer.json()["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess"


def reported(live: Live, run_id: str) -> int:
    """How many of the events that a run has folded, it has told Dagster of."""
    logged = [e.dagster_event for e in live.pipeline.instance.all_logs(run_id) if e.dagster_event]
    raw_log = [e.step_materialization_data.materialization for e in logged if e.is_step_materialization]
    newest = {m.partition: m.metadata["run_events"].value for m in raw_log if m.asset_key.path == [RAW_LOG]}
    return sum(int(events) for events in newest.values())  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_runs_take_over_from_one_another_and_end_when_they_are_asked_to(live: Live):
    until(lambda: len(live.written()) > TAKEOVERS, "the runs do not take over from one another")
    followers = {record.dagster_run.run_id for record in live.followers()}
    ids = [run_id for run_id in live.written() if run_id in followers][: TAKEOVERS + 1]
    for run_id, next_id in pairwise(ids):
        before, after = live.until_over(run_id), live.record(next_id)
        assert after.start_time is not None
        assert after.start_time < (before.end_time or 0.0)  # it is there before the other one goes
        first, second = live.written()[run_id], live.written()[next_id]
        for shard, (_, last) in first.items():
            assert second[shard][0] == last + 1
        assert before.dagster_run.status == DagsterRunStatus.SUCCESS

    in_ui = live.follower()
    terminate_in_ui(live, in_ui)
    live.until_over(in_ui)
    by_signal = live.follower()
    os.kill(process_of(live, by_signal), signal.SIGTERM)
    live.until_over(by_signal)
    by_ctrl_c = live.follower()
    live.up.process.send_signal(signal.SIGINT)
    assert live.up.process.wait(PATIENCE_SECONDS) == 0

    assert live.status(in_ui) == DagsterRunStatus.CANCELED
    for run_id in (in_ui, by_signal, by_ctrl_c):
        if run_id != in_ui:  # what the sensor launched has ended well
            assert live.status(run_id) == DagsterRunStatus.SUCCESS
        (events,) = live.pipeline.bench.rows(
            "SELECT sum(events) AS n FROM pipeline.coverage WHERE run_id = :run_id", run_id=run_id
        )
        assert reported(live, run_id) == events.n
    over = {DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELED, DagsterRunStatus.QUEUED}
    assert {record.dagster_run.status for record in live.pipeline.instance.get_run_records()} <= over

    bench = live.pipeline.bench
    assert bench.rows("SELECT * FROM pipeline.leases") == []
    logged = bench.logged()
    for shard, first, last in bench.ledger():  # one range per shard: no hole
        rows = live.hub.shards[shard]
        assert first == rows.event_ids[0] >> 14
        assert logged[shard] == [raw for raw, at in zip(rows.raws, rows.event_ids, strict=True) if at >> 14 <= last]
    assert len(bench.ledger()) == 2
    assert bench.rows("SELECT sum(events) AS n FROM pipeline.coverage")[0].n == sum(map(len, logged.values()))
