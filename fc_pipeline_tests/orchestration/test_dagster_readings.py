"""Metrics of Dagster's own database, as a real instance wrote it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import SerializableErrorInfo

from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.dagster_readings import DagsterReadings
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import Database


@pytest.fixture
def pipeline(database: Database, lake: Path) -> Iterator[Pipeline]:
    with sample_hub() as url, open_pipeline(database, lake.parent, url) as opened:
        yield opened


def tick(pipeline: Pipeline, name: str, status: TickStatus, at: float) -> None:
    pipeline.instance.create_tick(
        TickData(
            instigator_origin_id=f"origin of {name}",
            instigator_name=name,
            instigator_type=InstigatorType.SENSOR,
            status=status,
            timestamp=at,
            selector_id=f"selector of {name}",
            run_ids=[],
            error=SerializableErrorInfo("failed", [], None) if status is TickStatus.FAILURE else None,
        )
    )


def test_runs_ticks_daemons_and_checks(pipeline: Pipeline) -> None:
    settings = Settings.load(dotenv=None)
    readings = DagsterReadings(lambda: settings)
    assert {s.family.name for s in readings.read()} <= {"fc_dagster_daemon_age_seconds"}
    pipeline.materialize(hour=SAMPLE_HOURS[0])
    pipeline.evaluate("casts")
    now = time.time()
    tick(pipeline, "hub_event_sensor", TickStatus.FAILURE, now - 300)
    tick(pipeline, "hub_event_sensor", TickStatus.SUCCESS, now - 100)
    tick(pipeline, "gap_sensor", TickStatus.FAILURE, now - 10)
    pipeline.instance.add_daemon_heartbeat(DaemonHeartbeat(now - 50, "SENSOR", "daemon", []))

    found = {(s.family.name, *s.labels): s.value for s in readings.read()}
    assert found["fc_dagster_runs", "success"] == 2
    assert found["fc_dagster_tick_age_seconds", "hub_event_sensor"] == pytest.approx(100, abs=30)
    assert found["fc_dagster_tick_failed", "hub_event_sensor"] == 0
    assert found["fc_dagster_tick_failed", "gap_sensor"] == 1
    assert found["fc_dagster_daemon_age_seconds", "sensor"] == pytest.approx(50, abs=30)
    checks = {key[2]: value for key, value in found.items() if key[0] == "fc_check_failed" and key[1] == "casts"}
    names = {name: evaluation for name in checks for evaluation in pipeline.checks("casts", name).values()}
    assert checks == {name: float(not evaluation.passed) for name, evaluation in names.items()}
    assert "unique_keys" in checks


def line(pipeline: Pipeline, number: int, status: str, check: str = "fresh") -> None:
    """A line of a check of casts, which a running check changes when it ends."""
    with pipeline.instance.event_log_storage.index_connection() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO asset_check_executions (id, asset_key, check_name, run_id, execution_status) "
                "VALUES (:id, '[\"casts\"]', :check, 'run', :status) "
                "ON CONFLICT (id) DO UPDATE SET execution_status = excluded.execution_status"
            ),
            {"id": number, "check": check, "status": status},
        )


def test_a_check_has_its_last_result_whenever_that_was_written(pipeline: Pipeline) -> None:
    now = 0.0
    readings = DagsterReadings(lambda: Settings.load(dotenv=None), lambda: now)

    def failed() -> dict[str, float]:
        found = readings.read()
        return {s.labels[1]: s.value for s in found if s.family.name == "fc_check_failed" and s.labels[0] == "casts"}

    line(pipeline, 10_000, "FAILED")
    line(pipeline, 10_001, "PLANNED", check="slow")
    line(pipeline, 20_000, "SUCCEEDED")
    assert failed() == {"fresh": 0}
    line(pipeline, 30_000, "FAILED", check="quick")
    assert failed() == {"fresh": 0, "quick": 1}
    line(pipeline, 10_001, "FAILED", check="slow")  # what takes hours ends after others
    line(pipeline, 29_900, "FAILED")  # becomes visible after a later one
    assert failed() == {"fresh": 1, "slow": 1, "quick": 1}
    line(pipeline, 30_001, "SUCCEEDED", check="quick")
    assert failed() == {"fresh": 1, "slow": 1, "quick": 0}
    with pipeline.instance.event_log_storage.index_connection() as connection:
        connection.execute(sa.text("DELETE FROM asset_check_executions WHERE check_name = 'slow'"))
    assert "slow" in failed()
    now = 3601.0
    assert failed() == {"fresh": 1, "quick": 0}
