"""The schedule of all checks: damage by hand is red at its next run, with the command, and green once it is mended."""

from collections.abc import Iterator

import pytest
from dagster import AssetCheckEvaluation, AssetKey, DagsterRunStatus, RunRequest, SkipReason, build_schedule_context

from fc_pipeline.orchestration.checks.rows import ROWS_MATCH_LOG
from fc_pipeline.orchestration.jobs import RUN_CHECKS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.schedules import regular_checks
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, defs, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database

FIRST, SECOND, _ = SAMPLE_HOURS
DAMAGED = ("casts", "channel_follows", "channel_members", "storage_lends")


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    data_dir = tmp_path_factory.mktemp("pipeline")
    with sample_hub() as url, fresh_database(postgres) as database, open_pipeline(database, data_dir, url) as opened:
        assert opened.materialize(hour=FIRST, last=SECOND).success
        yield opened


def tick(pipeline: Pipeline) -> RunRequest | SkipReason:
    asked = regular_checks(build_schedule_context(instance=pipeline.instance, resources={"replica": ReplicaResource()}))
    assert isinstance(asked, RunRequest | SkipReason)
    return asked


def checked(pipeline: Pipeline) -> dict[AssetKey, AssetCheckEvaluation]:
    """The check of rows, by table, of the run that the schedule asks for."""
    request = tick(pipeline)
    assert isinstance(request, RunRequest)
    result = pipeline.launch(request, RUN_CHECKS.name)
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {one.asset_key.to_user_string() for one in evaluations} >= DATA_TABLES.keys()
    return {one.asset_key: one for one in evaluations if one.check_name == ROWS_MATCH_LOG}


@pytest.mark.slow
def test_damage_by_hand_shows_at_the_next_run_and_is_mended_as_it_says(pipeline: Pipeline) -> None:
    before = pipeline.tables()
    assert all(one.passed for one in checked(pipeline).values())
    with pipeline.bench.replica.engine.begin() as connection:
        for table in DAMAGED:
            assert connection.exec_driver_sql(f"DELETE FROM {table}").rowcount > 0
    found = checked(pipeline)
    red = {key.to_user_string() for key, one in found.items() if not one.passed}
    assert red >= set(DAMAGED)
    for table in DAMAGED:
        said = found[AssetKey(table)].description or ""
        assert FIRST.key in said
        assert f"asset materialize -m fc_pipeline.definitions --select {table} --partition" in said
    assert pipeline.materialize(*sorted(red), hour=FIRST, last=SECOND).success
    assert all(one.passed for one in checked(pipeline).values())
    assert pipeline.tables() == before


def test_while_a_run_of_checks_is_under_way_no_other_is_asked_for(pipeline: Pipeline) -> None:
    run = pipeline.instance.create_run_for_job(defs.resolve_job_def(RUN_CHECKS.name), status=DagsterRunStatus.STARTED)
    assert isinstance(tick(pipeline), SkipReason)
    pipeline.instance.delete_run(run.run_id)
    assert isinstance(tick(pipeline), RunRequest)
