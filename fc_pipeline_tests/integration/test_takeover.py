"""Runs that follow a live hub one after the other under a real `up`, and what becomes of those asked to end."""

import os
import signal
from itertools import pairwise

import httpx
import pytest
from dagster import DagsterRunStatus

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline_tests.support.live_up import (
    TIMEOUT_SECONDS,
    Live,
    live,  # noqa: F401 - a fixture
    process_of,
    until,
)
from fc_pipeline_tests.support.up import Up, data_dir  # noqa: F401 - data_dir is a fixture

TAKEOVERS = 3


def terminate_in_ui(live: Live, run_id: str) -> None:  # noqa: F811
    query = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
    answer = httpx.post(f"{live.up.ui_url}/graphql", json={"query": query, "variables": {"id": run_id}}, timeout=60)
    assert answer.json()["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess"


def reported(live: Live, run_id: str) -> int:  # noqa: F811
    """How many of the events that a run has folded, it has told Dagster of."""
    logged = [e.dagster_event for e in live.pipeline.instance.all_logs(run_id) if e.dagster_event]
    raw_log = [e.step_materialization_data.materialization for e in logged if e.is_step_materialization]
    newest = {m.partition: m.metadata["run_events"].value for m in raw_log if m.asset_key.path == [RAW_LOG]}
    return sum(int(events) for events in newest.values())  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_runs_take_over_from_one_another_and_end_when_they_are_asked_to(live: Live):  # noqa: F811
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
    assert live.up.process.wait(TIMEOUT_SECONDS) == 0

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
