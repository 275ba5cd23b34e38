"""Indexes for readers under Dagster: the sensor asks for the run that makes them when the replica has caught up."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus, RunRequest, SkipReason, build_sensor_context
from dagster._core.test_utils import create_run_for_test

from fc_pipeline.orchestration.index_job import MAKE_INDEXES
from fc_pipeline.orchestration.jobs import SNAPSHOTS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors.indexes import index_sensor
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import later_indexes
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline
from fc_pipeline_tests.support.postgres import Database


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    log = log_from_lines(list(generate(7, fids=20, events=400, events_per_second=40.0)))
    with serving(log) as url, open_pipeline(database, tmp_path, url) as opened:
        yield opened


def tick(pipeline: Pipeline) -> RunRequest | str | None:
    context = build_sensor_context(instance=pipeline.instance, resources={"replica": ReplicaResource()})
    result = index_sensor(context)
    assert isinstance(result, (RunRequest, SkipReason))
    return result.skip_message if isinstance(result, SkipReason) else result


def forget_runs(pipeline: Pipeline) -> None:
    for run in pipeline.instance.get_runs():
        pipeline.instance.delete_run(run.run_id)


def test_they_are_made_once_nothing_is_missing(pipeline: Pipeline) -> None:
    engine = pipeline.bench.replica.engine
    with engine.connect() as connection:
        missing = len(later_indexes.missing(connection))
    assert tick(pipeline) == f"{missing} indexes wait until earlier hours are read"
    pipeline.bench.run()
    assert isinstance(tick(pipeline), RunRequest)
    defs.resolve_job_def(MAKE_INDEXES.name).execute_in_process(instance=pipeline.instance)
    with engine.connect() as connection:
        assert later_indexes.missing(connection) == []
    assert tick(pipeline) == "every index is made"


def test_not_beside_a_run_that_loads_and_after_failures_later(pipeline: Pipeline) -> None:
    pipeline.bench.run()
    for job, reason in ((MAKE_INDEXES, "a run is making indexes"), (SNAPSHOTS, "a run loads histories of users")):
        create_run_for_test(pipeline.instance, job_name=job.name, status=DagsterRunStatus.STARTED)
        assert tick(pipeline) == reason
        forget_runs(pipeline)
    for _ in range(2):
        create_run_for_test(pipeline.instance, job_name=MAKE_INDEXES.name, status=DagsterRunStatus.FAILURE)
    assert tick(pipeline) == "the last 2 runs failed: waiting before the next attempt"
