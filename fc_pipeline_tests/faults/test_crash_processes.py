"""A real `up` on a growing hub of which the run, the daemon and the code server are killed: all goes on by itself."""

import os
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import AssetKey, DagsterRunStatus

from fc_pipeline.config.settings import Settings
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.heights import holes
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services import embedded_servers
from fc_pipeline.services.ports import free_port
from fc_pipeline.store import ledger
from fc_pipeline_tests.support.live_up import (
    TIMEOUT_SECONDS,
    Live,
    live,  # noqa: F401 - a fixture
    process_of,
    until,
)
from fc_pipeline_tests.support.up import Up, data_dir, marked  # noqa: F401 - data_dir is a fixture

pytestmark = pytest.mark.slow


def pid_of(live: Live, module: str) -> int:  # noqa: F811
    (pid,) = [pid for pid, command in marked(live.up.data_dir).items() if module in command]
    return pid


def test_killed_run_daemon_and_code_server(live: Live) -> None:  # noqa: F811
    victims = {
        "the run": lambda run_id: process_of(live, run_id),
        "the daemon": lambda run_id: pid_of(live, "fc_pipeline.orchestration.servers.daemon"),
        "the code server": lambda run_id: pid_of(live, "fc_pipeline.orchestration.servers.code_server"),
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
    assert live.up.process.wait(TIMEOUT_SECONDS) == 0
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


def test_the_embedded_postgres_of_up_is_killed(data_dir: Path) -> None:  # noqa: F811
    """With it go the storage of Dagster, its daemon's connections and the run that follows."""
    now = int(time.time())
    hub = log_from_lines(generate(17, fids=50, events=200, events_per_second=20.0, start_unix=now - 12))
    growth = Endless(hub, events_per_second=20.0, start_unix=now)
    with serving(hub, growth=growth) as url:
        up = Up(data_dir, free_port(), FC_HUB_URLS=url, FC_FOLLOW_SECONDS="300")
        up.wait_until_up()
        settings = Settings(data_dir=data_dir, lake_uri=str(data_dir / "lake"))
        (server,) = embedded_servers(settings, need_hub=False, need_redis=False)
        engine = sa.create_engine(settings.model_copy(update={"postgres_url": server.url()}).sqlalchemy_url())
        for _ in range(2):
            before = newest_heights(engine)
            until(lambda before=before: is_ahead(newest_heights(engine), before), "nobody follows")
            pid = server.running_pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed_at = time.monotonic()
            engine.dispose()
            until(lambda pid=pid: server.running_pid() not in (None, pid), "it is not started again")
            before = until(lambda: newest_heights(engine), "it does not answer")
            until(lambda before=before: is_ahead(newest_heights(engine), before), "nobody goes on")
            print(f"Postgres killed: the ledger goes on {time.monotonic() - killed_at:.0f} s later")
        with engine.connect() as connection:
            covered = {shard: ledger.covered(connection, shard) for shard in hub.shards}
        for shard, ranges in covered.items():
            first = hub.shards[shard].event_ids[0] >> 14
            assert not holes(ranges, first, ranges[-1].last)
        engine.dispose()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(TIMEOUT_SECONDS) == 0, up.output.read_text()
    assert "process_restarted name=postgres" in up.output.read_text()


def newest_heights(engine: sa.Engine) -> dict[int, int]:
    """Per shard the newest folded height; nothing while Postgres is away."""
    query = "SELECT shard, max(to_height) FROM pipeline.coverage GROUP BY shard"
    try:
        with engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(sa.text(query))}
    except sa.exc.DBAPIError:
        return {}


def is_ahead(now: dict[int, int], before: dict[int, int]) -> bool:
    return bool(now) and all(height > before.get(shard, 0) + 2 for shard, height in now.items())
