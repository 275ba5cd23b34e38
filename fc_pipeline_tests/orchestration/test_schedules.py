"""What happens by the clock: the close of an hour, and the daily upkeep."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import RunRequest, SkipReason, build_schedule_context

from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.schedules import close_hour, daily_maintenance
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, defs, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database

FIRST, SECOND, THIRD = SAMPLE_HOURS


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Two of the sample's three hours are read, in several micro-batches each."""
    data_dir = tmp_path_factory.mktemp("pipeline")
    with sample_hub() as url, fresh_database(postgres) as database, open_pipeline(database, data_dir, url) as opened:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FC_BATCH_EVENTS", "300")
            assert opened.materialize(hour=FIRST, last=SECOND).success
        yield opened


def closed_at(pipeline: Pipeline, when: datetime) -> Any:
    context = build_schedule_context(
        instance=pipeline.instance, scheduled_execution_time=when, resources={"replica": ReplicaResource()}
    )
    return close_hour(context)


def files_of(pipeline: Pipeline, hour: Hour) -> int:
    return len(pipeline.bench.replica.log.files(hour))


@pytest.mark.slow
def test_the_hour_that_ended_is_closed(pipeline: Pipeline):
    request = closed_at(pipeline, datetime(2026, 11, 1, 11, 3, tzinfo=UTC))
    assert isinstance(request, RunRequest)
    assert request.partition_key == FIRST.key
    config = request.run_config["ops"]["micro_batch"]["config"]
    assert config == {"rebuild": False, "compact": True, "hours_ahead": 0}


def test_the_run_that_it_asks_for_joins_the_files_and_changes_nothing(pipeline: Pipeline):
    request = closed_at(pipeline, datetime(2026, 11, 1, 11, 3, tzinfo=UTC))
    assert files_of(pipeline, FIRST) > 2
    before = pipeline.tables(), pipeline.bench.logged()
    job = defs.resolve_job_def(close_hour.job_name)
    result = job.execute_in_process(
        instance=pipeline.instance, partition_key=request.partition_key, run_config=request.run_config
    )
    assert result.success
    assert files_of(pipeline, FIRST) == 2  # one per shard
    assert (pipeline.tables(), pipeline.bench.logged()) == before


def test_an_hour_of_which_nothing_was_read_is_skipped_with_the_reason(pipeline: Pipeline):
    skipped = closed_at(pipeline, datetime(2026, 11, 1, 13, 3, tzinfo=UTC))
    assert isinstance(skipped, SkipReason)
    assert THIRD.key in str(skipped.skip_message)


def test_the_hour_is_chosen_without_a_hub(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FC_HUB_URLS", "http://127.0.0.1:9")
    assert isinstance(closed_at(pipeline, datetime(2026, 11, 1, 12, 3, tzinfo=UTC)), RunRequest)


def test_upkeep_joins_files_of_finished_hours_without_a_hub(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FC_HUB_URLS", "http://127.0.0.1:9")
    logged = pipeline.bench.logged()
    assert files_of(pipeline, SECOND) > 2
    job = defs.resolve_job_def(daily_maintenance.job_name)
    assert job.execute_in_process(instance=pipeline.instance).success
    assert files_of(pipeline, SECOND) == 2
    assert pipeline.bench.logged() == logged
