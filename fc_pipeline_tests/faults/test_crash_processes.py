"""A real `up` on a growing hub of which the run, the daemon and the code server are killed: all goes on by itself."""

import os
import signal
import time

import pytest
from dagster import AssetKey, DagsterRunStatus

from fc_pipeline.fold import ledger
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline_tests.cli.test_up import data_dir, marked  # noqa: F401 - data_dir is a fixture
from fc_pipeline_tests.integration.test_takeover import (
    PATIENCE_SECONDS,
    Live,
    live,  # noqa: F401 - a fixture
    process_of,
    until,
)

pytestmark = pytest.mark.slow


def pid_of(live: Live, module: str) -> int:  # noqa: F811
    (pid,) = [pid for pid, command in marked(live.up.data_dir).items() if module in command]
    return pid


def test_killed_run_daemon_and_code_server(live: Live) -> None:  # noqa: F811
    victims = {
        "the run": lambda run_id: process_of(live, run_id),
        "the daemon": lambda run_id: pid_of(live, "dagster._daemon"),
        "the code server": lambda run_id: pid_of(live, "fc_pipeline.services.code_server"),
    }
    for name, pid in victims.items():
        run_id = live.follower()
        os.kill(pid(run_id), signal.SIGKILL)
        killed_at = time.monotonic()
        until(
            lambda run_id=run_id: live.record(run_id).dagster_run.is_finished, f"run {run_id} stays, {name} was killed"
        )
        next_id = until(lambda run_id=run_id: (found := live.follower()) != run_id and found, f"nobody follows: {name}")
        print(f"{name} killed: run {next_id[:8]} follows {time.monotonic() - killed_at:.0f} s later")

    live.up.process.send_signal(signal.SIGINT)
    assert live.up.process.wait(PATIENCE_SECONDS) == 0
    assert marked(live.up.data_dir) == {}
    states = {record.dagster_run.status for record in live.pipeline.instance.get_run_records()}
    assert not states & {DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING}

    bench = live.pipeline.bench
    logged = bench.logged()
    assert len(bench.ledger()) == 2  # one range per shard: no hole
    for shard, first, last in bench.ledger():
        rows = live.hub.shards[shard]
        assert first == rows.event_ids[0] >> 14
        served = [raw for raw, at in zip(rows.raws, rows.event_ids, strict=True) if at >> 14 <= last]
        assert logged[shard][: len(served)] == served
    tables, quarantine = bench.dump(), bench.quarantine()
    with bench.replica.engine.connect() as connection:
        hours = ledger.covered_partitions(connection)
    assert set(hours) <= live.pipeline.instance.get_materialized_partitions(AssetKey(RAW_LOG))
    bench.tables.empty()
    bench.rebuild()
    assert (bench.dump(), bench.quarantine()) == (tables, quarantine)
