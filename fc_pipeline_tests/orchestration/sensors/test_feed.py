"""The sensor's ticks, against real hubs and a real instance: what it launches, what it leaves alone, what it says."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRunStatus, RunRequest, SensorResult, SkipReason, build_sensor_context
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.test_utils import create_run_for_test

from fc_pipeline.hours import Hour
from fc_pipeline.hub import probe
from fc_pipeline.orchestration.instance.concurrency import CATCH_UP_TAG, HUB_TAG
from fc_pipeline.orchestration.jobs import MICRO_BATCHES
from fc_pipeline.orchestration.partitions import HOURS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors import feed
from fc_pipeline.orchestration.sensors.attempts import Attempt
from fc_pipeline.orchestration.sensors.feed import FOLLOW_TAG, SUCCESSOR_LEAD_SECONDS, hub_event_sensor
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.status.status import read_status
from fc_pipeline.store import lease
from fc_pipeline_tests.support.bad_answers import Answer
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.fault_proxy import FaultProxy, Request
from fc_pipeline_tests.support.logs import casts_at, log_of
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline
from fc_pipeline_tests.support.postgres import fresh_database

HOURS_IN_LOG = 8
MAX_CATCH_UP_RUNS = 3  # dagster.yaml says so
LONG_AGO = datetime.fromtimestamp(0, UTC)


@pytest.fixture(scope="module")
def opened(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    data_dir = tmp_path_factory.mktemp("pipeline")
    with fresh_database(postgres) as database, open_pipeline(database, data_dir, "http://127.0.0.1:9") as pipeline:
        yield pipeline


@pytest.fixture
def pipeline(opened: Pipeline) -> Iterator[Pipeline]:
    """Empty: nothing read, no runs."""
    yield opened
    opened.bench.tables.empty()
    for run in opened.instance.get_runs():
        opened.instance.delete_run(run.run_id)


def tick(pipeline: Pipeline, hub_url: str, cursor: str | None = None) -> SensorResult:
    result = evaluate(pipeline, hub_url, cursor)
    assert isinstance(result, SensorResult), result
    return result


def remembered(attempts: int, *hours: str, at: datetime = LONG_AGO) -> str:
    """A cursor by which each of these hours was asked for so often, and last at a time."""
    return json.dumps({hour: {"attempts": attempts, "last_at": at.isoformat()} for hour in hours})


def evaluate(pipeline: Pipeline, hub_url: str, cursor: str | None = None) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FC_HUB_URLS", hub_url)
        context = build_sensor_context(
            instance=pipeline.instance, cursor=cursor, resources={"replica": ReplicaResource()}, definitions=defs
        )
        return hub_event_sensor(context)


def requests_of(result: SensorResult) -> list[RunRequest]:
    return list(result.run_requests or [])


def followers(result: SensorResult) -> list[RunRequest]:
    return [request for request in requests_of(result) if FOLLOW_TAG in request.tags]


def catch_ups(result: SensorResult) -> list[str]:
    return [request.partition_key or "" for request in requests_of(result) if FOLLOW_TAG not in request.tags]


def config_of(request: RunRequest) -> dict[str, Any]:
    return request.run_config["ops"]["micro_batch"]["config"]


def old_log(hours: int = HOURS_IN_LOG) -> EventLog:
    """A block in the middle of each of several past hours."""
    return log_of(casts_at([(1000 + n, HOUR_UNIX + 3600 * n + 1800) for n in range(hours)]))


def old_hours(hours: int = HOURS_IN_LOG) -> list[str]:
    """Newest first."""
    return [Hour(HOUR_UNIX + 3600 * n).key for n in reversed(range(hours))]


@pytest.fixture
def live_hub() -> Iterator[str]:
    now = time.time()
    log = log_of(casts_at([(1000, int(now) - 3)]))
    with serving(log, growth=Endless(log, events_per_second=5.0, start_unix=now - 2)) as url:
        yield url


@pytest.fixture
def session_pid(pipeline: Pipeline) -> Iterator[int]:
    """A Postgres session that lives as long as the test, as a run's does."""
    with closing(psycopg2.connect(pipeline.environment["FC_POSTGRES_URL"])) as connection:
        yield connection.info.backend_pid


def make_run(
    instance: DagsterInstance, status: DagsterRunStatus, started_seconds_ago: float | None = None, **tags: str
) -> str:
    run = create_run_for_test(instance, job_name=MICRO_BATCHES.name, status=status, tags=tags)
    if started_seconds_ago is not None:
        with instance.run_storage.connect() as connection:
            connection.execute(
                sa.update(RunsTable)
                .where(RunsTable.c.run_id == run.run_id)
                .values(start_time=time.time() - started_seconds_ago)
            )
    return run.run_id


def follow_run(
    pipeline: Pipeline, session_pid: int | None, ends_in_seconds: float, started_seconds_ago: float = 300.0
) -> str:
    """A run that follows the present hour, holding its lease if it has a session."""
    run_id = make_run(pipeline.instance, DagsterRunStatus.STARTED, started_seconds_ago, **{FOLLOW_TAG: "true"})
    if session_pid is not None:
        assert lease.try_take(
            pipeline.bench.replica.engine,
            shard=1,
            partition=Hour.of(time.time()).key,
            holder=f"{run_id}/1",
            backend_pid=session_pid,
            planned_end_unix=time.time() + ends_in_seconds,
        )
    return run_id


def test_a_live_hub_is_followed(pipeline: Pipeline, live_hub: str):
    (request,) = followers(tick(pipeline, live_hub))
    assert request.partition_key == Hour.of(time.time()).key
    assert config_of(request) == {"rebuild": False, "follow_seconds": 300.0, "hours_ahead": 0, "compact": False}


def test_who_follows_is_left_alone_while_its_end_is_far(pipeline: Pipeline, live_hub: str, session_pid: int):
    follow_run(pipeline, session_pid, ends_in_seconds=SUCCESSOR_LEAD_SECONDS + 60)
    assert followers(tick(pipeline, live_hub)) == []


def test_near_its_end_it_gets_a_successor_and_only_one(pipeline: Pipeline, live_hub: str, session_pid: int):
    follow_run(pipeline, session_pid, ends_in_seconds=SUCCESSOR_LEAD_SECONDS - 5)
    assert len(followers(tick(pipeline, live_hub))) == 1
    make_run(pipeline.instance, DagsterRunStatus.NOT_STARTED, **{FOLLOW_TAG: "true"})
    assert followers(tick(pipeline, live_hub)) == []


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_a_follower_that_is_on_its_way_is_waited_for(pipeline: Pipeline, live_hub: str, status: DagsterRunStatus):
    started = 5.0 if status == DagsterRunStatus.STARTED else None
    make_run(pipeline.instance, status, started, **{FOLLOW_TAG: "true"})
    assert followers(tick(pipeline, live_hub)) == []


def test_a_follower_that_died_unnoticed_is_replaced(pipeline: Pipeline, live_hub: str):
    """Its worker and code server were killed: Dagster calls it started for two hours, but it holds no lease."""
    follow_run(pipeline, None, ends_in_seconds=0, started_seconds_ago=600)
    assert len(followers(tick(pipeline, live_hub))) == 1


def test_a_lease_of_a_dead_session_holds_nobody_up(pipeline: Pipeline, live_hub: str):
    with closing(psycopg2.connect(pipeline.environment["FC_POSTGRES_URL"])) as connection:
        follow_run(pipeline, connection.info.backend_pid, ends_in_seconds=200)
    assert len(followers(tick(pipeline, live_hub))) == 1


def test_followers_that_fail_at_once_are_launched_later_and_later(
    pipeline: Pipeline, live_hub: str, monkeypatch: pytest.MonkeyPatch
):
    """Whatever it is that fails them: not every few seconds a failed run, for ever."""

    def fails(ended_seconds_ago: float) -> None:
        run_id = make_run(pipeline.instance, DagsterRunStatus.FAILURE, ended_seconds_ago + 1, **{FOLLOW_TAG: "true"})
        with pipeline.instance.run_storage.connect() as connection:
            update = sa.update(RunsTable).where(RunsTable.c.run_id == run_id)
            connection.execute(update.values(end_time=time.time() - ended_seconds_ago))

    def is_followed() -> bool:
        return len(followers(tick(pipeline, live_hub))) == 1

    fails(1.0)
    assert is_followed()  # once is no habit
    fails(10.0)
    assert not is_followed()
    fails(20.0)
    assert not is_followed()
    fails(31.0)
    assert not is_followed()
    fails(10_000.0)
    assert is_followed()
    make_run(pipeline.instance, DagsterRunStatus.SUCCESS, 300.0, **{FOLLOW_TAG: "true"})
    fails(1.0)
    assert is_followed()


def test_missing_hours_are_asked_for_newest_first_and_few_at_a_time(pipeline: Pipeline):
    with serving(old_log()) as url:
        result = tick(pipeline, url)
    assert catch_ups(result) == old_hours()[:MAX_CATCH_UP_RUNS]
    assert followers(result) == []  # the hub stands still
    assert all(config_of(request)["rebuild"] is False for request in requests_of(result))


def test_a_follower_and_as_many_hours_as_fit_are_asked_for_together(pipeline: Pipeline):
    """Whoever follows takes no place from those that catch up, and waits for none of them."""
    now = int(time.time())
    log = log_of(casts_at([(1000 + n, now - 3600 * (HOURS_IN_LOG - n)) for n in range(HOURS_IN_LOG + 1)]))
    with serving(log) as url:
        result = tick(pipeline, url)
    (follower,) = followers(result)
    assert follower.tags["dagster/priority"] == "10"
    assert CATCH_UP_TAG not in follower.tags
    assert catch_ups(result) == [Hour.of(now - 3600 * n).key for n in range(1, 1 + MAX_CATCH_UP_RUNS)]
    tags = [request.tags for request in requests_of(result) if FOLLOW_TAG not in request.tags]
    assert all(CATCH_UP_TAG in one and int(one["dagster/max_runtime"]) > 0 for one in tags)
    assert {one[HUB_TAG].partition(":")[0] for one in tags} == {"127.0.0.1"}  # neither user nor password


def test_hours_that_are_being_worked_on_are_not_asked_for(pipeline: Pipeline):
    newest, second, third, fourth, *_ = old_hours()
    make_run(pipeline.instance, DagsterRunStatus.NOT_STARTED, **{"dagster/partition": second})
    with serving(old_log()) as url:
        assert catch_ups(tick(pipeline, url)) == [newest, third]
        make_run(pipeline.instance, DagsterRunStatus.STARTED, 1.0, **{"dagster/partition": newest})
        make_run(pipeline.instance, DagsterRunStatus.STARTED, 1.0, **{"dagster/partition": third})
        assert requests_of(tick(pipeline, url)) == []
        make_run(pipeline.instance, DagsterRunStatus.SUCCESS, **{"dagster/partition": fourth})
        assert requests_of(tick(pipeline, url)) == []


def test_dead_catch_up_runs_do_not_hold_up_the_others(pipeline: Pipeline):
    for hour in old_hours()[:MAX_CATCH_UP_RUNS]:
        make_run(pipeline.instance, DagsterRunStatus.STARTED, 3000.0, **{"dagster/partition": hour})
    with serving(old_log()) as url:
        assert catch_ups(tick(pipeline, url)) == old_hours()[:MAX_CATCH_UP_RUNS]


def test_an_hour_that_stays_missing_is_asked_for_later_and_later(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    hour = old_hours(1)[0]
    now = 1_800_000_000.0
    monkeypatch.setattr(feed.time, "time", lambda: now)
    asked: list[float] = []
    cursor: str | None = None
    with serving(old_log(1)) as url:
        for _ in range(60):
            result = tick(pipeline, url, cursor)
            cursor = result.cursor
            if catch_ups(result) == [hour]:
                asked.append(now)
            now += 5.0
    assert [later - earlier for earlier, later in pairwise(asked)] == [15.0, 30.0, 60.0, 120.0]
    assert json.loads(cursor or "") == {hour: {"attempts": 5, "last_at": "2027-01-15T08:03:45Z"}}
    assert asked[-1] == datetime(2027, 1, 15, 8, 3, 45, tzinfo=UTC).timestamp()


def test_an_hour_that_failed_again_and_again_is_a_gap_until_it_is_read(pipeline: Pipeline):
    hour = old_hours(2)[0]
    with serving(old_log(2)) as url:
        tick(pipeline, url, remembered(feed.FAILED_AFTER_ATTEMPTS - 2, hour))
        assert pipeline.bench.rows("SELECT 1 FROM pipeline.gaps") == []
        tick(pipeline, url, remembered(feed.FAILED_AFTER_ATTEMPTS - 1, hour))
        query = "SELECT shard, from_height, to_height, reason, healed_how FROM pipeline.gaps"
        assert [tuple(row) for row in pipeline.bench.rows(query)] == [(1, 1001, 1001, "failed_hour", None)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FC_HUB_URLS", url)
            assert pipeline.materialize(hour=Hour.from_key(hour)).success
        assert [tuple(row) for row in pipeline.bench.rows(query)] == [(1, 1001, 1001, "failed_hour", "feed")]


def test_the_longest_pause_is_bounded():
    assert not Attempt(50, 0.0).is_due(599.0)
    assert Attempt(50, 0.0).is_due(600.0)
    assert Attempt(10_000, 0.0).is_due(600.0)


@pytest.mark.slow
def test_what_was_read_is_forgotten_by_the_cursor_and_said(pipeline: Pipeline):
    with serving(old_log(2)) as url:
        cursor = remembered(3, *old_hours(2), "2020-01-01-00:00")
        result = tick(pipeline, url, cursor)
        assert set(json.loads(result.cursor or "")) == set(old_hours(2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FC_HUB_URLS", url)
            first, last = (Hour.from_key(key) for key in reversed(old_hours(2)))
            assert pipeline.materialize(hour=first, last=last).success
        done = tick(pipeline, url, result.cursor)
    assert requests_of(done) == []
    assert json.loads(done.cursor or "") == {}
    assert "shard 1 at height 1001" in str(done.skip_reason)


def test_a_tick_without_work_says_why(pipeline: Pipeline):
    hour = old_hours(1)[0]
    with serving(old_log(1)) as url:
        skipped = tick(pipeline, url, remembered(9, hour, at=datetime.now(UTC)))
    assert requests_of(skipped) == []
    assert f"waiting for a retry: {hour}" in str(skipped.skip_reason)


@pytest.mark.parametrize("cursor", ["", "{}", "nonsense", "[1]", '{"2026-11-01-00:00": [3, 0.0]}'])
def test_a_cursor_that_says_nothing_stops_nothing(pipeline: Pipeline, cursor: str):
    with serving(old_log(1)) as url:
        assert catch_ups(tick(pipeline, url, cursor)) == old_hours(1)


def test_a_hub_that_cannot_be_reached_is_a_skip_that_names_it(pipeline: Pipeline):
    skipped = evaluate(pipeline, "http://127.0.0.1:9")
    assert isinstance(skipped, SkipReason)
    assert "127.0.0.1:9" in str(skipped.skip_message)


def test_a_hub_that_hangs_ends_the_tick_in_time(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "SILENCE_SECONDS", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections and says nothing
        skipped = evaluate(pipeline, f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert isinstance(skipped, SkipReason)
    assert "no answer" in str(skipped.skip_message)


def test_hours_that_fail_share_the_time_of_a_tick(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    """The hub hangs after the first look: what is launched is launched, and it is not asked once per hour."""
    monkeypatch.setattr(probe, "SILENCE_SECONDS", 0.4)
    hours = old_hours()[:MAX_CATCH_UP_RUNS]
    hangs = threading.Event()

    def ask(request: Request) -> Request | Answer:
        return Answer(silent=True, then="hang") if hangs.is_set() else request

    living_runs = feed._living_runs

    def after_the_look(*given: Any) -> Any:
        hangs.set()
        proxy.requests.clear()
        return living_runs(*given)

    monkeypatch.setattr(feed, "_living_runs", after_the_look)
    cursor = remembered(feed.FAILED_AFTER_ATTEMPTS - 1, *hours)
    with serving(old_log()) as url, FaultProxy(url, ask=ask) as proxy:
        result = tick(pipeline, proxy.url, cursor)
        assert catch_ups(result) == hours
        asked = len(proxy.requests)
    assert 0 < asked <= 2  # a hub that is silent is asked a second time, and not for every hour
    assert pipeline.bench.rows("SELECT * FROM pipeline.gaps") == []
    with serving(old_log()) as url:  # the next attempt has them listed
        monkeypatch.setattr(feed, "_living_runs", living_runs)
        counts = {hour: one["attempts"] for hour, one in json.loads(result.cursor or "").items()}
        assert counts == dict.fromkeys(hours, feed.FAILED_AFTER_ATTEMPTS)
        assert catch_ups(tick(pipeline, url, remembered(feed.FAILED_AFTER_ATTEMPTS, *hours))) == hours
    assert pipeline.bench.rows("SELECT DISTINCT reason FROM pipeline.gaps") == [("failed_hour",)]


@pytest.mark.slow
@pytest.mark.parametrize("hours_apart", [5, -5], ids=["ours is behind", "ours is ahead"])
def test_a_clock_that_is_wrong_is_named_and_stops_nothing(
    pipeline: Pipeline, hours_apart: int, caplog: pytest.LogCaptureFixture
):
    """The hub's clock is the network's; seen from it, ours is hours away."""

    def network_time() -> float:
        return time.time() + 3600 * hours_apart

    # All of it in one hour: what is of the hour before would rightly be caught up with.
    time.sleep(max(0.0, 100 - network_time() % 3600))
    log = log_of(casts_at([(1000 + n, int(network_time()) - 90 + n) for n in range(80)]))
    growth = Endless(log, events_per_second=5.0, start_unix=network_time() - 9)
    with serving(log, growth=growth, clock=network_time) as url:
        result = tick(pipeline, url)
        (request,) = followers(result)
        assert catch_ups(result) == []
        # Dagster takes it: the partition is one that it knows.
        assert request.partition_key in HOURS.get_partition_keys()
        resolved = request.with_resolved_tags_and_config(
            target_definition=defs.resolve_job_def(MICRO_BATCHES.name),
            dynamic_partitions_requests=[],
            dynamic_partitions_store=pipeline.instance,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FC_HUB_URLS", url)
            short = {**config_of(request), "follow_seconds": 1.0}
            run_config = {"ops": {"micro_batch": {"config": short}}}
            launched = RunRequest(run_config=run_config, tags={"dagster/partition": resolved.tags["dagster/partition"]})
            replica = pipeline.bench.replica
            assert pipeline.launch(launched, MICRO_BATCHES.name).success
            found = read_status(replace(replica, settings=replica.settings.model_copy(update={"hub_urls": (url,)})))
        said = f"5:00:00 {'behind' if hours_apart > 0 else 'ahead of'} the hub's"
        assert said in str(found.clock_warning)
        assert any("clocks_apart" in message and said in message for message in caplog.messages)
        assert found.shards[0].lag_seconds is not None
        assert found.shards[0].lag_seconds < 600
        assert pipeline.bench.ledger()[0][:2] == (1, 1000)
        assert pipeline.bench.ledger()[0][2] >= 1080
        assert Hour.of(network_time()).key in pipeline.hours_of("hub_events")
        following = tick(pipeline, url)
        assert len(followers(following)) == 1  # that one has ended: nobody follows now
        assert catch_ups(following) == []


def test_a_hub_without_events_is_no_error(pipeline: Pipeline):
    with serving(log_of()) as url:
        result = evaluate(pipeline, url)
    assert isinstance(result, SkipReason) or requests_of(result) == []
