"""Two `up`s of two folders on one Postgres: the second disturbs nothing of the first, and takes over at its end."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from dagster import DagsterRunStatus, RunRecord

from fc_pipeline.orchestration.assets.hourly import FOLLOW_TAG
from fc_pipeline.orchestration.instance.instances import INSTANCE_TAG, place_of
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.children import end_marked
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.live_up import until
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.up import Up

TIMEOUT_SECONDS = 120.0

pytestmark = pytest.mark.slow


class Shared:
    """What both use: a hub that goes on, Postgres and lake."""

    def __init__(self, pipeline: Pipeline, folder: Path, variables: dict[str, str]) -> None:
        self.pipeline = pipeline
        self._folder = folder
        self.variables = variables
        self.data_dirs: list[Path] = []

    def start(self, name: str, **variables: str) -> Up:
        data_dir = self._folder / name / "data"
        data_dir.parent.mkdir()
        self.data_dirs.append(data_dir)
        up = Up(data_dir, free_port(), **{**self.variables, **variables})
        up.wait_until_up()
        return up

    def runs(self) -> list[RunRecord]:
        return list(self.pipeline.instance.get_run_records())

    def writer_of(self, up: Up) -> str:
        """The run that `up` has launched and that writes now, once it does."""

        def heights() -> dict[str, int]:
            rows = self.pipeline.bench.rows("SELECT run_id, max(to_height) AS n FROM pipeline.coverage GROUP BY 1")
            return {row.run_id: row.n for row in rows}

        before = heights()

        def look() -> str | None:
            grown = {run_id for run_id, height in heights().items() if height > before.get(run_id, 0)}
            for record in self.runs():
                run = record.dagster_run
                if run.run_id in grown and run.status == DagsterRunStatus.STARTED and FOLLOW_TAG in run.tags:
                    return run.run_id if launched_by(record).endswith(str(up.data_dir)) else None
            return None

        return until(look, "nobody follows")

    def status(self, run_id: str) -> DagsterRunStatus:
        return next(record.dagster_run.status for record in self.runs() if record.dagster_run.run_id == run_id)


def launched_by(record: RunRecord) -> str:
    return place_of(record.dagster_run.tags[INSTANCE_TAG])


@pytest.fixture
def shared(database: Database, tmp_path: Path) -> Iterator[Shared]:
    now = int(time.time())
    hub = log_from_lines(generate(13, fids=50, events=200, events_per_second=20.0, start_unix=now - 12))
    with (
        serving(hub, growth=Endless(hub, events_per_second=20.0, start_unix=now)) as url,
        open_pipeline(database, tmp_path / "looking", url, FC_LAKE_URI=str(tmp_path / "lake")) as pipeline,
    ):
        variables = {
            "FC_POSTGRES_URL": database.url,
            "FC_HUB_URLS": url,
            "FC_LAKE_URI": str(tmp_path / "lake"),
            "FC_FOLLOW_SECONDS": "600",
        }
        made = Shared(pipeline, tmp_path, variables)
        yield made
        for data_dir in made.data_dirs:
            end_marked(data_dir, patience_seconds=20)


def stop(up: Up) -> None:
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(TIMEOUT_SECONDS) == 0, up.output.read_text()


def test_the_second_shows_what_the_first_does_and_takes_over_at_its_end(shared: Shared):
    first = shared.start("first")
    run = shared.writer_of(first)
    second = shared.start("second")
    until(lambda: "another `up` on this Postgres does the work" in second.output.read_text(), "it does not say so")
    assert "first/data" in second.output.read_text()
    assert shared.writer_of(first) == run  # it goes on
    assert "another `up`" not in first.output.read_text()
    query = {"query": "{ runsOrError { ... on Runs { results { runId status } } } }"}
    shown = httpx.post(f"{second.ui_url}/graphql", json=query, timeout=60).json()["data"]["runsOrError"]["results"]
    assert {"runId": run, "status": "STARTED"} in shown

    stop(first)
    assert shared.status(run) == DagsterRunStatus.SUCCESS
    until(lambda: "this one does the work now" in second.output.read_text(), "nobody leads")
    next_run = shared.writer_of(second)
    stop(second)
    assert shared.status(next_run) == DagsterRunStatus.SUCCESS
    over = {DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELED, DagsterRunStatus.QUEUED}
    assert {record.dagster_run.status for record in shared.runs()} <= over
    assert len(shared.pipeline.bench.ledger()) == 2  # one range per shard: no hole


def test_one_that_stands_by_takes_over_from_one_that_is_killed_and_ends_what_it_left(shared: Shared):
    first = shared.start("first")
    run = shared.writer_of(first)
    second = shared.start("second")
    until(lambda: "another `up` on this Postgres does the work" in second.output.read_text(), "it does not say so")
    first.process.kill()
    first.process.wait()
    assert shared.writer_of(first) == run  # its processes go on, so nobody needs to take over
    assert "this one does the work now" not in second.output.read_text()
    end_marked(first.data_dir, patience_seconds=0)  # as when the machine is gone
    until(lambda: "this one does the work now" in second.output.read_text(), "nobody leads")
    shared.writer_of(second)
    until(lambda: shared.status(run) in {DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}, "its run is left over")
    stop(second)
    assert len(shared.pipeline.bench.ledger()) == 2


def test_one_whose_hub_is_of_another_network_shows_and_never_leads(shared: Shared):
    """Also where the leader loses its sessions, as in a crash of Postgres: that one goes on."""
    first = shared.start("first")
    shared.writer_of(first)
    lines = generate(14, fids=50, events=200, events_per_second=20.0, start_unix=int(time.time()) - 12)
    with serving(log_from_lines(lines)) as other_network:
        second = shared.start("second", FC_HUB_URLS=other_network)
        until(lambda: "it cannot take over: hub" in second.output.read_text(), "it does not say so")
        shared.pipeline.bench.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'fc_pipeline %'"
        )
        shared.writer_of(first)
        stop(first)
        until(lambda: "nobody does the work now" in second.output.read_text(), "it does not say so")
        assert "this one does the work now" not in second.output.read_text()
        third = second.data_dir.parent.parent / "third" / "data"
        third.mkdir(parents=True)
        alone = Up(third, free_port(), **{**shared.variables, "FC_HUB_URLS": other_network})
        assert alone.process.wait(TIMEOUT_SECONDS) == 2
        assert "another network wants a database and a lake of its own" in alone.output.read_text()
        stop(second)
