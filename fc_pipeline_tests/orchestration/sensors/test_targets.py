"""New targets under Dagster: the sensor asks for the run that completes them, later and later where that fails."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from dagster import (
    AssetKey,
    DagsterRunStatus,
    RunRequest,
    SensorResult,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
)
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.test_utils import create_run_for_test

from fc_pipeline.orchestration.checks.targets import TARGETS_ASSET
from fc_pipeline.orchestration.jobs import TARGET_SET_JOB
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors.targets import hourly_targets, target_sensor
from fc_pipeline.orchestration.target_sync_job import SYNC_TARGETS, TARGETS_TAG
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.targets import coherence, owner
from fc_pipeline.targets.completing import completing
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.target_network import HOUR_OF_ALL, network_of_nine

pytestmark = pytest.mark.slow

COMPLETE = "every target's history is complete"
ALL_USERS = "everybody is replicated (FC_TARGETS=all)"

faults = Faults()


@pytest.fixture(scope="module")
def opened(
    postgres: EmbeddedPostgres, embedded_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """The hour is read with root 1, so its targets are known and wait for their history."""
    with (
        fresh_database(postgres) as database,
        serving(network_of_nine(), faults=faults) as hub_url,
        open_pipeline(
            database,
            tmp_path_factory.mktemp("pipeline"),
            hub_url,
            FC_TARGETS="set",
            FC_ROOT_FIDS="1",
            FC_REDIS_URL=embedded_redis.url(),
        ) as pipeline,
    ):
        assert pipeline.materialize(hour=HOUR_OF_ALL).success
        yield pipeline


@pytest.fixture
def pipeline(opened: Pipeline) -> Iterator[Pipeline]:
    """Nobody has looked yet; no runs."""
    faults.refused_fids.clear()
    faults.num_shards = None
    set_targets(opened, "synced_at = NULL, attempts = 0, tried_at = NULL, failure = NULL")
    yield opened
    for run in opened.instance.get_runs():
        opened.instance.delete_run(run.run_id)


def set_targets(pipeline: Pipeline, values: str) -> None:
    with pipeline.bench.replica.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE pipeline.targets SET {values}")


def tick(pipeline: Pipeline) -> RunRequest | str:
    """What the sensor asks for, or why it asks for nothing."""
    context = build_sensor_context(
        instance=pipeline.instance, resources={"replica": ReplicaResource()}, definitions=defs
    )
    return request_or_reason(target_sensor(context))


def request_or_reason(found: Any) -> RunRequest | str:
    if isinstance(found, SkipReason):
        return found.skip_message or ""
    assert isinstance(found, RunRequest), found
    return found


def asked(pipeline: Pipeline) -> RunRequest:
    found = tick(pipeline)
    assert isinstance(found, RunRequest), found
    return found


def unsynced(pipeline: Pipeline) -> dict[int, tuple[int, str | None]]:
    """The targets that wait: failed attempts and why they failed."""
    query = "SELECT fid, attempts, failure FROM pipeline.targets WHERE synced_at IS NULL"
    return {row.fid: (row.attempts, row.failure) for row in pipeline.bench.rows(query)}


def make_run(pipeline: Pipeline, status: DagsterRunStatus, job: str = SYNC_TARGETS.name, **seconds_ago: float) -> None:
    run = create_run_for_test(pipeline.instance, job_name=job, status=status, tags={TARGETS_TAG: "true"})
    storage = pipeline.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        for name, ago in seconds_ago.items():
            moved = sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id).values({name: time.time() - ago})
            connection.execute(moved)


def test_the_run_that_it_asks_for_completes_all_who_wait(pipeline: Pipeline):
    assert set(unsynced(pipeline)) == {1, 2, 3, 4}
    request = asked(pipeline)
    assert pipeline.launch(request, SYNC_TARGETS.name).success
    assert unsynced(pipeline) == {}
    assert {row.fid for row in pipeline.bench.rows("SELECT fid FROM pipeline.snapshots WHERE folded_file = file")} == {
        1,
        2,
        3,
        4,
    }
    assert tick(pipeline) == COMPLETE


def test_one_whom_the_hub_refuses_is_tried_later_and_later_and_holds_nobody_up(pipeline: Pipeline):
    faults.refused_fids.add(3)
    assert pipeline.launch(asked(pipeline), SYNC_TARGETS.name).success
    ((fid, (attempts, failure)),) = unsynced(pipeline).items()
    assert (fid, attempts) == (3, 1)
    assert "400" in (failure or "")
    waiting = tick(pipeline)
    assert waiting == "the targets that are left were asked for in vain: waiting before the next attempt"

    set_targets(pipeline, "tried_at = now() - interval '16 seconds'")
    assert pipeline.launch(asked(pipeline), SYNC_TARGETS.name).success
    assert unsynced(pipeline)[3][0] == 2
    set_targets(pipeline, "tried_at = now() - interval '16 seconds'")
    assert tick(pipeline) == waiting  # it takes 30 now
    set_targets(pipeline, "tried_at = now() - interval '31 seconds'")
    assert isinstance(tick(pipeline), RunRequest)

    set_targets(pipeline, "tried_at = now()")
    set_targets(pipeline, "synced_at = NULL, attempts = 0 WHERE fid = 2")  # a new one does not wait for it
    faults.refused_fids.clear()
    assert pipeline.launch(asked(pipeline), SYNC_TARGETS.name).success
    assert unsynced(pipeline) == {}
    assert pipeline.bench.rows("SELECT 1 FROM pipeline.targets WHERE failure IS NOT NULL OR attempts > 0") == []


def test_a_hub_that_cannot_be_asked_fails_the_run_and_completes_nobody(pipeline: Pipeline):
    assert pipeline.launch(asked(pipeline), SYNC_TARGETS.name).success
    set_targets(pipeline, "synced_at = NULL")  # as where Redis had not known them: there are snapshots from before
    request = asked(pipeline)
    faults.num_shards = 2
    assert not pipeline.launch(request, SYNC_TARGETS.name, raise_on_error=False).success
    assert {attempts for attempts, _ in unsynced(pipeline).values()} == {1}
    assert set(unsynced(pipeline)) == {1, 2, 3, 4}
    assert tick(pipeline) == "the last 1 runs failed: waiting before the next attempt"


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_a_run_that_is_on_its_way_is_waited_for(pipeline: Pipeline, status: DagsterRunStatus):
    if status == DagsterRunStatus.STARTED:
        make_run(pipeline, status, start_time=5.0)
    else:
        make_run(pipeline, status)
    assert tick(pipeline) == "a run that will complete targets is on its way"


def test_while_one_completes_there_is_no_other_however_long_it_takes(pipeline: Pipeline):
    make_run(pipeline, DagsterRunStatus.STARTED, start_time=7200.0)
    with completing(pipeline.bench.replica.engine):
        assert tick(pipeline) == "a run is completing targets"
    asked(pipeline)  # the one that is called started has died unnoticed


def test_changed_settings_are_taken_up_at_once(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    set_targets(pipeline, "synced_at = now()")
    make_run(pipeline, DagsterRunStatus.SUCCESS, end_time=1.0)
    assert tick(pipeline) == COMPLETE
    with monkeypatch.context() as patched:
        patched.setenv("FC_ROOT_FIDS", "1,5")
        assert pipeline.launch(asked(pipeline), SYNC_TARGETS.name).success
        assert tick(pipeline) == COMPLETE
        assert [row.fid for row in pipeline.bench.rows("SELECT fid FROM pipeline.targets ORDER BY 1")] == [*range(1, 7)]
    assert pipeline.launch(asked(pipeline), SYNC_TARGETS.name).success  # and back
    assert [row.fid for row in pipeline.bench.rows("SELECT fid FROM pipeline.targets ORDER BY 1")] == [1, 2, 3, 4]
    assert [row.fid for row in pipeline.bench.rows("SELECT fid FROM pipeline.former_targets ORDER BY 1")] == [5, 6]


def test_an_emptied_redis_is_filled_by_the_next_tick(pipeline: Pipeline):
    url = pipeline.environment["FC_REDIS_URL"]
    tick(pipeline)
    with redis.Redis.from_url(url) as client:
        client.flushall()
    engine = pipeline.bench.replica.engine
    assert coherence.compare(engine, url).is_behind
    tick(pipeline)
    found = coherence.compare(engine, url)
    assert (found.is_behind, found.missing, found.extra, found.cached) == (False, (), (), 4)


def test_without_redis_it_asks_all_the_same(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FC_REDIS_URL", "redis://127.0.0.1:9/0")
    asked(pipeline)


def test_former_targets_are_settled_by_a_run(pipeline: Pipeline):
    engine = pipeline.bench.replica.engine
    owner.add_root(engine, [9], follows=False, most_followed=None)
    set_targets(pipeline, "synced_at = now()")
    owner.remove(engine, [9])
    assert pipeline.launch(asked(pipeline), SYNC_TARGETS.name).success
    settled = "SELECT policy FROM pipeline.former_targets WHERE fid = 9 AND settled_at IS NOT NULL"
    assert [row.policy for row in pipeline.bench.rows(settled)] == ["drop"]
    assert tick(pipeline) == COMPLETE


def scheduled(pipeline: Pipeline) -> RunRequest | str:
    context = build_schedule_context(instance=pipeline.instance, resources={"replica": ReplicaResource()})
    return request_or_reason(hourly_targets(context))


def test_every_hour_the_set_is_made_anew_by_one_run_at_a_time(pipeline: Pipeline):
    request = scheduled(pipeline)
    assert isinstance(request, RunRequest)
    assert pipeline.launch(request, TARGET_SET_JOB.name).success
    make_run(pipeline, DagsterRunStatus.STARTED, TARGET_SET_JOB.name)
    assert scheduled(pipeline) == "the run before is still at it"


def test_with_everybody_replicated_both_have_nothing_to_do(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    monkeypatch.setenv("FC_TARGETS", "all")
    context = build_sensor_context(
        instance=pipeline.instance, resources={"replica": ReplicaResource()}, definitions=defs
    )
    pipeline.instance.wipe_assets([AssetKey(TARGETS_ASSET)])  # what other tests' runs have reported
    first = target_sensor(context)
    assert isinstance(first, SensorResult)
    (reported,) = first.asset_events
    assert reported.metadata["targets"].value == "everybody (FC_TARGETS=all)"
    pipeline.instance.report_runless_asset_event(reported)
    assert (tick(pipeline), scheduled(pipeline)) == (ALL_USERS, ALL_USERS)
