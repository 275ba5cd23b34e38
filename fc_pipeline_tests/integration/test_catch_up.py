"""Dagster's daemon after an outage: missing hours side by side up to the limit, and the present one beside them."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from dagster import DagsterRunStatus, RunRecord, RunsFilter

from fc_pipeline.config.project import project_root
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.instance.concurrency import CATCH_UP_TAG
from fc_pipeline.orchestration.jobs import MICRO_BATCHES
from fc_pipeline.orchestration.sensors.feed import FOLLOW_TAG
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.children import MARK, end_marked
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database

LIMIT = 2
MISSING_HOURS = 6
TIMEOUT_SECONDS = 300.0

pytestmark = pytest.mark.slow


@pytest.fixture
def live_hub() -> Iterator[str]:
    """Some blocks in each of the hours that were missed, and new ones every second."""
    present = Hour.of(time.time()).start_unix
    places = [
        (1000 + 100 * n + height, unix)
        for n in range(MISSING_HOURS)
        for height, unix in every_second(0, present - 3600 * (MISSING_HOURS - n) + 1800, 100)
    ]
    log = log_of(casts_at(places))
    with serving(log, growth=Endless(log, events_per_second=20.0, start_unix=time.time() - 3)) as url:
        yield url


@pytest.fixture
def pipeline(database: Database, tmp_path: Path, live_hub: str) -> Iterator[Pipeline]:
    with open_pipeline(database, tmp_path / "data", live_hub) as opened:
        yield opened


@pytest.fixture
def daemon(pipeline: Pipeline, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon with a dagster.yaml in which the owner has lowered the limit."""
    home = tmp_path / "home"
    home.mkdir()
    instance = yaml.safe_load((project_root() / "dagster.yaml").read_text())
    for limit in instance["concurrency"]["runs"]["tag_concurrency_limits"]:
        if limit["key"] == CATCH_UP_TAG:
            limit["limit"] = LIMIT
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    process = subprocess.Popen(
        [sys.executable, "-m", "dagster._daemon", "run", "-w", str(project_root() / "workspace.yaml")],
        env={**pipeline.environment, "DAGSTER_HOME": str(home), "FC_FOLLOW_SECONDS": "600", MARK: str(tmp_path)},
        cwd=project_root(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield process
    end_marked(tmp_path, patience_seconds=20.0)  # the code server and the runs, too
    process.wait()


def records(pipeline: Pipeline, tag: str) -> Sequence[RunRecord]:
    return pipeline.instance.get_run_records(RunsFilter(job_name=MICRO_BATCHES.name, tags={tag: "true"}))


def under_way(runs: Sequence[RunRecord]) -> bool:
    return any(not record.dagster_run.is_finished for record in runs)


def most_at_a_time(runs: Sequence[RunRecord]) -> int:
    """How many of these runs were in progress together at most."""
    ends = [(record.end_time or time.time(), -1) for record in runs]
    starts = [(record.start_time or time.time(), 1) for record in runs]
    together = peak = 0
    for _, change in sorted(starts + ends):
        together += change
        peak = max(peak, together)
    return peak


def test_hours_are_caught_up_with_side_by_side_and_the_present_one_beside_them(
    pipeline: Pipeline, daemon: subprocess.Popen[bytes]
):
    missed = pipeline.bench.missing_hours()[-MISSING_HOURS:]
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while set(missed) & set(pipeline.bench.missing_hours()) or under_way(runs := records(pipeline, CATCH_UP_TAG)):
        assert daemon.poll() is None
        assert time.monotonic() < deadline, pipeline.instance.get_runs()
        time.sleep(0.5)
    assert {record.dagster_run.status for record in runs} == {DagsterRunStatus.SUCCESS}
    assert most_at_a_time(runs) == LIMIT
    by_age = sorted(runs, key=lambda record: record.create_timestamp)
    asked_for = [Hour.from_key(record.dagster_run.tags["dagster/partition"]) for record in by_age]
    assert sorted(asked_for, reverse=True) == missed
    # Newest first; those of one tick are submitted by several threads.
    assert all(abs(asked_for.index(hour) - place) < LIMIT for place, hour in enumerate(missed))
    (follower, *_) = records(pipeline, FOLLOW_TAG)
    assert follower.dagster_run.status == DagsterRunStatus.STARTED
    assert follower.start_time is not None
    assert follower.start_time < max(record.start_time or 0.0 for record in runs)  # it waited for none of them
    assert pipeline.checks(RAW_LOG, "coverage_without_holes")[None].passed
