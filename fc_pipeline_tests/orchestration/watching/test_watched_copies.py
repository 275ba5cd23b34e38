"""Copies of the pipeline in somebody else's Dagster: what turns in each is told by its own names, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    AssetMaterialization,
    Definitions,
    JobDefinition,
    SensorDefinition,
    job,
    op,
    sensor,
)
from dagster._core.scheduler.instigation import TickStatus

from fc_pipeline.orchestration.checks.rows import ROWS_MATCH_LOG, row_checks
from fc_pipeline.orchestration.checks.wording import remedy_of
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.remedies import remedy_in
from fc_pipeline.plain_text import one_line
from fc_pipeline_tests.orchestration.watching.test_watch import Ticking, Watcher
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.receiver import receiving

COPIES = (("farcaster", "acme"), ("beta",))

REMEDY = one_line(next(remedy_of(one) for one in row_checks.check_specs if one.name == ROWS_MATCH_LOG))


@op
def fail() -> None:
    raise ValueError("the disk is full")


def failing(name: str) -> JobDefinition:
    @job(name=name)
    def one() -> None:
        fail()

    return one


@sensor(name="hub_event_sensor", minimum_interval_seconds=30)
def declared_sensor() -> None:
    """As the declared pipeline calls it."""


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    """An instance in which both copies have reported their raw log."""
    with open_pipeline(database, tmp_path / "data", "http://127.0.0.1:9") as opened:
        for prefix in COPIES:
            opened.instance.report_runless_asset_event(AssetMaterialization(AssetKey([*prefix, "hub_events"])))
        yield opened


@pytest.fixture
def watcher(pipeline: Pipeline, tmp_path: Path) -> Iterator[Watcher]:
    with receiving() as receiver:
        yield Watcher(tmp_path, receiver, Definitions(sensors=[declared_sensor], jobs=[failing("micro_batches")]))


def test_checks_of_each_copy_freshness_among_them(pipeline: Pipeline, watcher: Watcher) -> None:
    def say(asset: AssetKey, check: str, *, passed: bool) -> None:
        said = AssetCheckEvaluation(asset, check, passed, metadata={}, severity=AssetCheckSeverity.ERROR)
        pipeline.instance.report_runless_asset_event(said)

    of_acme, of_beta = AssetKey(["farcaster", "acme", "casts"]), AssetKey(["beta", "hub_events"])
    theirs = AssetKey(["theirs", "casts"])
    for passed in (False, True):
        say(of_acme, "rows_match_log", passed=passed)
        say(of_beta, "no_standstill", passed=passed)
        say(theirs, "rows_match_log", passed=passed)
        for _ in range(2):
            watcher.look("checks")
    titles = {"check rows_match_log of farcaster/acme/casts", "check no_standstill of beta/hub_events"}
    for word in ("RED", "OVER"):
        assert all(len(watcher.receiver.told(f"{word}: {title}")) == 1 for title in titles)
    assert "theirs" not in str(watcher.receiver.messages)
    ((_, words),) = watcher.receiver.told("RED: check rows_match_log of farcaster/acme/casts")
    assert remedy_in(Names(COPIES[0]), REMEDY) in words


def test_failed_runs_of_a_copys_jobs_and_not_of_others(pipeline: Pipeline, watcher: Watcher) -> None:
    for name in ("beta_micro_batches", "theirs"):
        failing(name).execute_in_process(instance=pipeline.instance, raise_on_error=False)
    assert watcher.look("runs") == ["fc_pipeline red: a run of beta_micro_batches failed"]


def _named(name: str) -> SensorDefinition:
    @sensor(name=name, minimum_interval_seconds=30)
    def named() -> None:
        """Its ticks are written by the test."""

    return named


def test_sensors_of_a_copy_until_it_is_taken_out(pipeline: Pipeline, watcher: Watcher) -> None:
    ticking = Ticking(pipeline, _named("beta_hub_event_sensor"))
    for _ in range(3):
        ticking.beat(watcher.now)
        ticking.tick(watcher.now, TickStatus.FAILURE, "the hub is on fire")
        watcher.now += 30
    ticking.beat(watcher.now)
    assert watcher.look("sensors and schedules") == ["fc_pipeline red: the sensor beta_hub_event_sensor fails"]
    told: list[str] = []
    for _ in range(30):
        ticking.beat(watcher.now)
        told += watcher.look("sensors and schedules")
        watcher.now += 3600
    assert told == [
        "fc_pipeline red: the sensor beta_hub_event_sensor does not tick",
        "fc_pipeline 2 over",
    ]
