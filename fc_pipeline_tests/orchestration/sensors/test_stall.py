"""The sensor that watches: what it says without a run, when it leaves that to the run, and since when it watches."""

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity, SensorResult, build_sensor_context

from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors.stall import GAP_SECONDS, cursor_of, stall_sensor, watching_since
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline
from fc_pipeline_tests.support.postgres import fresh_database

DEAD_HUB = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def opened(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with (
        fresh_database(postgres) as database,
        open_pipeline(database, tmp_path_factory.mktemp("pipeline"), DEAD_HUB) as pipeline,
    ):
        yield pipeline


@pytest.fixture
def pipeline(opened: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """Empty: nothing read."""
    yield opened
    opened.bench.tables.empty()


def live_log() -> EventLog:
    """Its head is of this second; its first blocks wait for longer than a minute."""
    return log_of(casts_at(every_second(1000, int(time.time()) - 99, 100)))


def tick(pipeline: Pipeline, hub_url: str, *, watched_seconds: float | None = None) -> SensorResult:
    now = time.time()
    cursor = None if watched_seconds is None else cursor_of(now - watched_seconds, now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FC_HUB_URLS", hub_url)
        result = stall_sensor(
            build_sensor_context(
                instance=pipeline.instance, cursor=cursor, resources={"replica": ReplicaResource()}, definitions=defs
            )
        )
    assert isinstance(result, SensorResult)
    return result


def said(result: SensorResult) -> AssetCheckEvaluation:
    (event,) = result.asset_events
    assert isinstance(event, AssetCheckEvaluation)
    assert event.check_name == "no_standstill"
    return event


def test_a_live_hub_of_which_nothing_is_folded_turns_red_after_a_minute(pipeline: Pipeline):
    with serving(live_log()) as url:
        assert said(tick(pipeline, url)).passed
        assert said(tick(pipeline, url, watched_seconds=30.0)).passed
        red = said(tick(pipeline, url, watched_seconds=90.0))
    assert not red.passed
    assert red.severity == AssetCheckSeverity.ERROR
    assert "hub_event_sensor" in (red.description or "")
    assert red.metadata["head_height_shard_1"].value == 1099


def test_dagster_stores_what_it_says_again_and_again(pipeline: Pipeline):
    with serving(live_log()) as url:
        green, red = (said(tick(pipeline, url, watched_seconds=seconds)) for seconds in (30.0, 90.0))
    for event in (green, red, red):  # as the daemon does with the events of a tick
        pipeline.instance.report_runless_asset_event(event)
    assert not pipeline.checks("hub_events", "no_standstill")[None].passed


@pytest.mark.slow
def test_while_micro_batches_are_committed_the_run_evaluates(pipeline: Pipeline):
    present = Hour.of(time.time())
    with serving(live_log()) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FC_HUB_URLS", url)
            assert pipeline.materialize(hour=present).success
        assert pipeline.checks("hub_events", "no_standstill")[None].passed
        result = tick(pipeline, url, watched_seconds=90.0)
        assert not result.asset_events
        assert result.skip_reason
        with pipeline.bench.replica.engine.begin() as connection:
            connection.execute(sa.text("UPDATE pipeline.coverage SET committed_at = now() - interval '2 minutes'"))
        assert said(tick(pipeline, url, watched_seconds=90.0)).passed  # it was all folded


def test_without_a_hub_it_warns(pipeline: Pipeline):
    warned = said(tick(pipeline, DEAD_HUB))
    assert not warned.passed
    assert warned.severity == AssetCheckSeverity.WARN
    assert "127.0.0.1:9" in (warned.description or "")


def test_the_watch_begins_anew_after_a_gap_and_with_any_cursor():
    assert cursor_of(500.7, 990.0) == '{"watching_since":"1970-01-01T00:08:20Z","looked_at":"1970-01-01T00:16:30Z"}'
    assert watching_since(cursor_of(500.0, 990.0), 1000.0) == 500.0
    assert watching_since(cursor_of(500.0, 990.0), 991.0 + GAP_SECONDS) == 991.0 + GAP_SECONDS
    future, backwards = cursor_of(2000.0, 3000.0), cursor_of(900.0, 800.0)
    for cursor in (None, "", "{}", "[1]", "nonsense", "[500.0, 990.0]", future, backwards):
        assert watching_since(cursor, 1000.0) == 1000.0
