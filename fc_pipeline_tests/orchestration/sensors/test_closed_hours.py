"""Closed hours: each is reported once, when it is whole and green, and once more after a repair; models follow that."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import (
    AssetMaterialization,
    AssetSpec,
    AutomationCondition,
    Definitions,
    RunConfig,
    RunRequest,
    SensorResult,
    SkipReason,
    asset,
    build_sensor_context,
    evaluate_automation_conditions,
    materialize,
)
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.storage.tags import PARTITION_NAME_TAG

from fc_pipeline.hours import Hour
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.orchestration.assets.closed_hours import CLOSED_HOURS
from fc_pipeline.orchestration.assets.hourly import MicroBatchConfig, hourly_tables
from fc_pipeline.orchestration.jobs import MICRO_BATCHES, RUN_CHECKS
from fc_pipeline.orchestration.partitions import HOURS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors.closed_hours import closed_hours_sensor
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline
from fc_pipeline_tests.support.postgres import Database

pytestmark = pytest.mark.slow

BLOCKS = 20
FIRST, SECOND, THIRD, FOURTH = (Hour(HOUR_UNIX + n * 3600) for n in range(4))


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    """A hub with some blocks in each of four hours; nothing is read."""
    hours = (FIRST, SECOND, THIRD, FOURTH)
    blocks = [casts_at(every_second(height_of_hour(hour), hour.start_unix, BLOCKS)) for hour in hours]
    with serving(log_of(*blocks)) as url, open_pipeline(database, tmp_path, url) as opened:
        yield opened


def delete_casts(pipeline: Pipeline, hour: Hour) -> None:
    """What somebody does who should not."""
    span = {"first": first_event_id(height_of_hour(hour)), "end": first_event_id(height_of_hour(hour.next))}
    with pipeline.bench.replica.engine.begin() as connection:
        deleted = connection.execute(sa.text("DELETE FROM casts WHERE version >= :first AND version < :end"), span)
    assert deleted.rowcount == BLOCKS


def height_of_hour(hour: Hour) -> int:
    return 1000 + (hour.start_unix - HOUR_UNIX) // 3600 * BLOCKS


@dataclass
class Watch:
    """The sensor, tick after tick; reports what it says, as the daemon does."""

    pipeline: Pipeline
    cursor: str | None = None

    def tick(self) -> tuple[list[str], str]:
        """The hours reported, and what the tick says."""
        context = build_sensor_context(
            instance=self.pipeline.instance, cursor=self.cursor, resources={"replica": ReplicaResource()}
        )
        result = closed_hours_sensor(context)
        assert isinstance(result, SensorResult)
        assert isinstance(result.skip_reason, SkipReason)
        self.cursor = result.cursor
        reported: list[str] = []
        for event in result.asset_events:
            assert isinstance(event, AssetMaterialization)
            self.pipeline.instance.report_runless_asset_event(event)
            reported.append(str(event.partition))
        return reported, str(result.skip_reason.skip_message)


EAGER = AutomationCondition.eager()


@asset(
    deps=[CLOSED_HOURS],
    partitions_def=HOURS,
    automation_condition=EAGER.without(AutomationCondition.in_latest_time_window()),
)
def casts_by_hour() -> None:
    """A model of an hour."""


@asset(deps=[CLOSED_HOURS], automation_condition=EAGER.without(~AutomationCondition.any_deps_missing()))
def newest_casts() -> None:
    """A model of the whole."""


@dataclass
class Models:
    """Another code location, with models below the asset, and the daemon that runs them."""

    pipeline: Pipeline
    cursor: AssetDaemonCursor | None = None

    def evaluate(self) -> list[tuple[str, str | None]]:
        """Run what the conditions ask for; each model with its partition."""
        location = Definitions([casts_by_hour, newest_casts, AssetSpec(CLOSED_HOURS, partitions_def=HOURS)])
        result = evaluate_automation_conditions(location, instance=self.pipeline.instance, cursor=self.cursor)
        self.cursor = result.cursor
        runs: list[tuple[str, str | None]] = []
        for one in (casts_by_hour, newest_casts):
            for key in result.get_requested_partitions(one.key):
                assert materialize([one], instance=self.pipeline.instance, partition_key=key).success
                runs.append((one.key.to_user_string(), key))
        return sorted(runs, key=str)


def test_a_model_runs_once_per_hour_and_once_more_after_a_repair(pipeline: Pipeline):
    watch, models = Watch(pipeline), Models(pipeline)
    models.evaluate()
    for hour, following in ((FIRST, SECOND), (SECOND, THIRD), (THIRD, FOURTH)):
        assert pipeline.materialize(hour=hour).success
        assert watch.tick()[0] == []  # where it ends is not known before the next hour begins
        assert models.evaluate() == []
        assert pipeline.materialize(hour=following).success
        assert watch.tick()[0] == [hour.key]
        assert models.evaluate() == [("casts_by_hour", hour.key), ("newest_casts", None)]
        assert watch.tick()[0] == []
        assert models.evaluate() == []
    said = pipeline.metadata(CLOSED_HOURS, FIRST)
    assert said["rows_casts"] == BLOCKS
    assert said["heights_shard_1"] == f"1000-{1000 + BLOCKS - 1}"

    assert pipeline.materialize("casts", hour=SECOND).success  # nothing to repair
    assert watch.tick()[0] == []
    assert models.evaluate() == []

    delete_casts(pipeline, SECOND)
    assert pipeline.materialize("casts", hour=SECOND).success
    assert watch.tick()[0] == [SECOND.key]
    assert models.evaluate() == [("casts_by_hour", SECOND.key), ("newest_casts", None)]
    watch.cursor = None  # a user reset it
    assert watch.tick()[0] == []
    assert models.evaluate() == []


def test_a_red_hour_waits_until_it_is_repaired(pipeline: Pipeline):
    assert pipeline.materialize(hour=FIRST, last=THIRD).success
    delete_casts(pipeline, FIRST)
    pipeline.evaluate("casts", "rows_match_log")
    watch = Watch(pipeline)
    reported, said = watch.tick()
    assert reported == [SECOND.key]
    assert f"{FIRST.key} waits for rows_match_log of casts" in said
    assert pipeline.materialize("casts", hour=FIRST).success
    assert watch.tick()[0] == [FIRST.key]


def test_an_hour_whose_files_are_lost_waits(pipeline: Pipeline):
    assert pipeline.materialize(hour=FIRST, last=THIRD).success
    for file in pipeline.bench.replica.log.files(SECOND):
        Path(pipeline.environment["FC_DATA_DIR"], "lake", file.path).unlink()
    reported, said = Watch(pipeline).tick()
    assert reported == [FIRST.key]
    assert f"{SECOND.key} waits for files_as_written" in said


def test_hours_that_no_check_has_come_to_wait(pipeline: Pipeline):
    assert pipeline.materialize(hour=FIRST).success
    for hour in (SECOND, THIRD):  # as the sensor of the feed has missing hours read
        config = RunConfig(ops={hourly_tables.op.name: MicroBatchConfig(rebuild=False)})
        request = RunRequest(run_config=config, tags={PARTITION_NAME_TAG: hour.key})
        assert pipeline.launch(request, MICRO_BATCHES.name).success
    watch = Watch(pipeline)
    reported, said = watch.tick()
    assert reported == [FIRST.key]
    assert "rows_match_log, which has not come to it yet" in said
    assert defs.resolve_job_def(RUN_CHECKS.name).execute_in_process(instance=pipeline.instance).success
    assert watch.tick()[0] == [SECOND.key]


def test_nothing_read_is_nothing_closed(pipeline: Pipeline):
    assert Watch(pipeline).tick() == ([], "0 hours reported as closed, 0 wait")
