"""Retention of Dagster's history: old rows go, but what the UI says of partitions, checks and runs stays."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, DagsterRunStatus

from fc_pipeline.errors import ServiceError
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.instance.retention import purge_run_history
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database

pytestmark = pytest.mark.slow

OUTPUTS = (RAW_LOG, *DATA_TABLES)
RUNS = 3


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Two hours, the first of them materialised several times; all of it ten days ago."""
    data_dir = tmp_path_factory.mktemp("pipeline")
    with sample_hub() as url, fresh_database(postgres) as database, open_pipeline(database, data_dir, url) as opened:
        for _ in range(RUNS):
            assert opened.materialize(hour=SAMPLE_HOURS[0]).success
        assert opened.materialize(hour=SAMPLE_HOURS[1]).success
        ten_days = "interval '10 days'"
        with _storage(opened.instance).index_connection() as connection:
            connection.execute(sa.text(f"UPDATE event_logs SET timestamp = timestamp - {ten_days}"))
            connection.execute(sa.text(f"UPDATE asset_event_tags SET event_timestamp = event_timestamp - {ten_days}"))
            connection.execute(
                sa.text(
                    "UPDATE asset_check_executions SET evaluation_event_timestamp = evaluation_event_timestamp "
                    f"- {ten_days}"
                )
            )
        yield opened


def _storage(instance: DagsterInstance) -> Any:
    return getattr(instance.event_log_storage, "event_log_storage", instance.event_log_storage)


def rows_by_type(pipeline: Pipeline) -> dict[str | None, int]:
    with _storage(pipeline.instance).index_connection() as connection:
        query = sa.text("SELECT dagster_event_type, count(*) FROM event_logs GROUP BY 1")
        return {row[0]: row[1] for row in connection.execute(query)}


def tags(pipeline: Pipeline) -> int:
    with _storage(pipeline.instance).index_connection() as connection:
        return connection.execute(sa.text("SELECT count(*) FROM asset_event_tags")).scalar_one()


def seen(pipeline: Pipeline) -> dict[str, Any]:
    """What the UI says of each asset: its partitions, their newest metadata, and the checks."""
    hours = SAMPLE_HOURS[:2]
    newest = {
        asset: pipeline.instance.fetch_materializations(AssetRecordsFilter(AssetKey(asset)), limit=1).records[0]
        for asset in OUTPUTS
    }
    return {
        "partitions": {asset: pipeline.hours_of(asset) for asset in OUTPUTS},
        "metadata": {asset: [pipeline.metadata(asset, hour) for hour in hours] for asset in OUTPUTS},
        "newest": {asset: record.storage_id for asset, record in newest.items()},
        "coverage": {hour: check.passed for hour, check in pipeline.checks(RAW_LOG, "coverage_without_holes").items()},
        "keys": {
            asset: {h: c.passed for h, c in pipeline.checks(asset, "unique_keys").items()} for asset in DATA_TABLES
        },
        "runs": [(run.run_id, run.status) for run in pipeline.instance.get_runs()],
        "latest versions": pipeline.instance.get_latest_data_version_record(AssetKey("casts")) is not None,
    }


def test_what_is_young_stays(pipeline: Pipeline):
    before = rows_by_type(pipeline)
    assert purge_run_history(pipeline.instance, keep_days=11, keep_repeated_days=11) == 0
    assert rows_by_type(pipeline) == before


def test_of_a_run_that_has_not_ended_everything_stays(pipeline: Pipeline):
    runs = pipeline.instance.get_runs()
    before = rows_by_type(pipeline)

    def have_status(status: DagsterRunStatus) -> None:
        with pipeline.instance.run_storage.connect() as connection:  # pyright: ignore[reportAttributeAccessIssue]
            connection.execute(sa.text("UPDATE runs SET status = :status"), {"status": status.value})

    for status in (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING, DagsterRunStatus.QUEUED):
        have_status(status)
        assert purge_run_history(pipeline.instance) == 0, status
    have_status(DagsterRunStatus.SUCCESS)
    assert rows_by_type(pipeline) == before
    assert {run.status for run in runs} == {DagsterRunStatus.SUCCESS}


def test_old_log_rows_and_repetitions_go_and_everything_shown_stays(pipeline: Pipeline):
    before, shown, tags_before = rows_by_type(pipeline), seen(pipeline), tags(pipeline)
    assert before["ASSET_MATERIALIZATION"] == len(OUTPUTS) * (RUNS + 1)
    purged = purge_run_history(pipeline.instance)
    after = rows_by_type(pipeline)
    assert purged == sum(before.values()) - sum(after.values()) > 0
    assert after["ASSET_MATERIALIZATION"] == len(OUTPUTS) * 2  # one per asset and hour
    assert 0 < tags(pipeline) < tags_before
    assert "STEP_START" not in after
    assert None not in after
    assert after["PIPELINE_SUCCESS"] == before["PIPELINE_SUCCESS"]
    assert seen(pipeline) == shown
    assert {status for _, status in shown["runs"]} == {DagsterRunStatus.SUCCESS}
    assert purge_run_history(pipeline.instance) == 0


def test_work_goes_on_after_it(pipeline: Pipeline):
    assert pipeline.materialize(hour=SAMPLE_HOURS[0]).success
    assert pipeline.hours_of("casts") == {hour.key for hour in SAMPLE_HOURS[:2]}


def test_another_storage_is_refused_by_name():
    with DagsterInstance.ephemeral() as instance, pytest.raises(ServiceError, match="cannot purge runs kept in"):
        purge_run_history(instance)
