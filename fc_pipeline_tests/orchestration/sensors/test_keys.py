"""Gasless keys under Dagster: the sensor asks for the run that reads them, and not again and again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetKey, DagsterRunStatus, RunRequest, SkipReason, build_sensor_context
from dagster._core.test_utils import create_run_for_test

from fc_pipeline.orchestration.key_reading_job import READ_KEYS, read_gasless_keys
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors.keys import key_sensor
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline
from fc_pipeline_tests.support.postgres import Database

EXPLAINED = "every key is explained, and the known gasless ones were read lately"


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    log = log_from_lines(list(generate(7, fids=40, events=1_500, events_per_second=40.0, gasless_keys=True)))
    with serving(log) as url, open_pipeline(database, tmp_path, url) as opened:
        opened.bench.run()
        yield opened


def tick(pipeline: Pipeline) -> RunRequest | str | None:
    context = build_sensor_context(instance=pipeline.instance, resources={"replica": ReplicaResource()})
    result = key_sensor(context)
    assert isinstance(result, (RunRequest, SkipReason))
    return result.skip_message if isinstance(result, SkipReason) else result


def forget_runs(pipeline: Pipeline) -> None:
    for run in pipeline.instance.get_runs():
        pipeline.instance.delete_run(run.run_id)


def test_the_run_that_it_asks_for_reads_the_keys(pipeline: Pipeline) -> None:
    request = tick(pipeline)
    assert isinstance(request, RunRequest)
    result = defs.resolve_job_def(READ_KEYS.name).execute_in_process(instance=pipeline.instance, tags=request.tags)
    figures = result.output_for_node(read_gasless_keys.name)
    assert (figures["fids_read"] > 0, figures["rows_written"] > 0, figures["unread_fids"]) == (True, True, 0)
    assert pipeline.bench.rows("SELECT 1 FROM signers WHERE kind = 'gasless'") != []
    reported = pipeline.instance.get_latest_materialization_event(AssetKey(GASLESS_KEYS.name))
    assert reported is not None
    assert reported.asset_materialization is not None
    said = {name: value.value for name, value in reported.asset_materialization.metadata.items()}
    assert said == {**figures, "dagster/row_count": pipeline.bench.rows("SELECT count(*) FROM gasless_keys")[0][0]}
    assert tick(pipeline) == "keys were read a moment ago"
    forget_runs(pipeline)
    assert tick(pipeline) == EXPLAINED


def test_one_run_at_a_time_and_failing_ones_later(pipeline: Pipeline) -> None:
    create_run_for_test(pipeline.instance, job_name=READ_KEYS.name, status=DagsterRunStatus.STARTED)
    assert tick(pipeline) == "a run is reading keys"
    forget_runs(pipeline)
    for _ in range(2):
        create_run_for_test(pipeline.instance, job_name=READ_KEYS.name, status=DagsterRunStatus.FAILURE)
    assert tick(pipeline) == "the last 2 runs failed: waiting before the next attempt"
