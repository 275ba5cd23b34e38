"""The watch over a real Dagster instance: what turns there arrives at a real receiver, once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DefaultScheduleStatus,
    Definitions,
    OpExecutionContext,
    ScheduleDefinition,
    SensorDefinition,
    job,
    op,
    sensor,
)
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from fc_pipeline.alerts.addresses import addresses_of
from fc_pipeline.alerts.memory_file import MemoryFile
from fc_pipeline.alerts.watch import Watch
from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.watching.sources import Watched
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.events import HOUR, HOUR_UNIX
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.receiver import Receiver, receiving

HEIGHTS = 90
MATCH = "rows_match_log"


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """One hour of casts, materialised, and all checks of the table of casts evaluated."""
    data_dir: Path = tmp_path_factory.mktemp("pipeline")
    log = log_of(casts_at(every_second(1000, HOUR_UNIX, HEIGHTS)))
    with (
        serving(log) as url,
        fresh_database(postgres) as database,
        open_pipeline(database, data_dir, url) as opened,
    ):
        assert opened.materialize(hour=Hour.from_key(HOUR)).success
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


class Watcher:
    """A watcher whose clock the test moves; `restart` is a new process on the same folder."""

    def __init__(self, folder: Path, receiver: Receiver, definitions: Definitions | None = None) -> None:
        self.folder = folder
        self.receiver = receiver
        self.definitions = definitions or Definitions()
        self.now = 1_800_000_000.0
        self.restart()

    def restart(self) -> None:
        settings = Settings.load(dotenv=None)
        watched = Watched(project_root(), settings, self.definitions, clock=lambda: self.now)
        self.sources = watched.sources()
        addresses = addresses_of([self.receiver.url])
        self.watch = Watch(self.sources, addresses, MemoryFile(self.folder), "here", clock=lambda: self.now)

    def look(self, *names: str) -> list[str]:
        """The titles of what was sent by one look at these sources."""
        before = len(self.receiver.messages)
        self.watch.look([source for source in self.sources if source.name in names])
        self.now += 20
        return self.receiver.titles[before:]


@pytest.fixture
def watcher(pipeline: Pipeline, tmp_path: Path, receiver: Receiver) -> Watcher:
    return Watcher(tmp_path, receiver)


def change_a_row(pipeline: Pipeline) -> None:
    with pipeline.bench.replica.engine.begin() as connection:
        connection.execute(sa.text("UPDATE casts SET text = 'changed by hand'"))


def test_a_check_that_turns_red_and_green_is_told_once_each(pipeline: Pipeline, watcher: Watcher) -> None:
    assert watcher.look("checks") == []
    change_a_row(pipeline)
    pipeline.evaluate("casts", MATCH)
    assert watcher.look("checks") == [], "the next evaluation may find it mended"
    assert watcher.look("checks") == ["fc_pipeline red: check rows_match_log of casts"]
    (message,) = watcher.receiver.messages
    assert message["type"] == "failure"
    assert "Runbook: docs/checks.md#rows_match_log" in message["message"]
    assert "asset materialize" in message["message"], "the remedy that the check says"
    assert watcher.look("checks") == []
    watcher.restart()
    assert watcher.look("checks") == []
    pipeline.materialize("casts", hour=Hour.from_key(HOUR))
    pipeline.evaluate("casts", MATCH)
    watcher.restart()
    assert watcher.look("checks") == ["fc_pipeline over: check rows_match_log of casts"]
    assert watcher.look("checks") == []


@pytest.mark.parametrize(("severity", "looks"), [(AssetCheckSeverity.ERROR, 1), (AssetCheckSeverity.WARN, 4)])
def test_what_is_mended_a_moment_later_is_not_told(
    pipeline: Pipeline, watcher: Watcher, severity: AssetCheckSeverity, looks: int
) -> None:
    """Yellow until the run that follows has evaluated again, once a minute: it is what is being repaired."""

    def say(*, passed: bool) -> None:
        key = AssetKey("hub_events")
        said = AssetCheckEvaluation(key, "no_open_gaps", passed, metadata={}, severity=severity)
        pipeline.instance.report_runless_asset_event(said)

    for passed, times in ((False, looks), (True, 5)):
        say(passed=passed)
        assert [title for _ in range(times) for title in watcher.look("checks")] == []
    say(passed=False)
    assert len([title for _ in range(looks + 1) for title in watcher.look("checks")]) == 1
    say(passed=True)
    assert watcher.look("checks") == ["fc_pipeline over: check no_open_gaps of hub_events"]


def test_where_nothing_turns_nothing_is_sent(watcher: Watcher) -> None:
    for _ in range(4):
        assert watcher.look("Postgres", "hubs", "checks", "runs", "freshness", "processes") == []
    assert not MemoryFile(watcher.folder).path.exists()


def test_a_receiver_that_is_down_is_told_later_and_once(pipeline: Pipeline, watcher: Watcher) -> None:
    watcher.receiver.status = 503
    with pipeline.bench.replica.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE pipeline.coverage RENAME TO coverage_elsewhere"))
    try:
        for _ in range(8):
            assert watcher.look("freshness") == []
        watcher.receiver.status = 200
        watcher.restart()
        assert watcher.look("freshness") == ["fc_pipeline yellow: the watcher cannot look at freshness"]
    finally:
        with pipeline.bench.replica.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE pipeline.coverage_elsewhere RENAME TO coverage"))
    assert watcher.look("freshness") == ["fc_pipeline over: the watcher cannot look at freshness"]


def test_a_replica_that_stays_behind_is_told_by_the_ledger_alone(pipeline: Pipeline, watcher: Watcher) -> None:
    with pipeline.bench.replica.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE kept AS TABLE pipeline.coverage"))
        connection.execute(sa.text("DELETE FROM pipeline.coverage"))
    try:
        told = [title for _ in range(8) for title in watcher.look("freshness")]
        assert told == ["fc_pipeline yellow: check fresh of hub_events"]
    finally:
        with pipeline.bench.replica.engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO pipeline.coverage SELECT * FROM kept"))
            connection.execute(sa.text("DROP TABLE kept"))
    assert watcher.look("freshness") == ["fc_pipeline over: check fresh of hub_events"]


def test_a_failed_run_is_over_once_the_same_has_succeeded(pipeline: Pipeline, watcher: Watcher) -> None:
    @op
    def work(context: OpExecutionContext) -> None:
        if context.run.tags.get("fails"):
            raise ValueError("the disk is full")

    @job
    def working() -> None:
        work()

    assert watcher.look("runs") == []
    working.execute_in_process(instance=pipeline.instance, raise_on_error=False, tags={"fails": "true"})
    working.execute_in_process(instance=pipeline.instance, raise_on_error=False, tags={"fails": "true"})
    assert watcher.look("runs") == ["fc_pipeline red: a run of working failed"]
    assert "the disk is full" in watcher.receiver.messages[-1]["message"]
    assert watcher.look("runs") == []
    working.execute_in_process(instance=pipeline.instance)
    assert watcher.look("runs") == ["fc_pipeline over: a run of working failed"]


def test_a_dead_postgres_is_told_and_what_stands_in_it_stays_as_it_was(
    pipeline: Pipeline, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = ("Postgres", "checks", "runs", "freshness")
    change_a_row(pipeline)
    pipeline.evaluate("casts", MATCH)
    told = [title for _ in range(2) for title in watcher.look(*everything)]
    assert told == ["fc_pipeline red: check rows_match_log of casts"]
    url = Settings.load(dotenv=None).postgres_url
    assert url is not None
    monkeypatch.setenv("FC_POSTGRES_URL", "postgresql://user:geheim@127.0.0.1:9/nowhere")
    watcher.restart()
    assert watcher.look(*everything) == [], "a moment's silence is no news"
    assert watcher.look(*everything) == ["fc_pipeline red: Postgres does not answer"]
    assert "geheim" not in str(watcher.receiver.messages)
    assert watcher.look(*everything) == []
    monkeypatch.setenv("FC_POSTGRES_URL", url)
    watcher.restart()
    assert watcher.look(*everything) == ["fc_pipeline over: Postgres does not answer"]
    pipeline.materialize("casts", hour=Hour.from_key(HOUR))
    pipeline.evaluate("casts", MATCH)
    assert watcher.look(*everything) == ["fc_pipeline over: check rows_match_log of casts"]


def test_a_hub_that_is_gone_is_told_and_freshness_is_not_judged(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FC_HUB_URLS", "http://127.0.0.1:9")
    watcher.restart()
    told = [title for _ in range(8) for title in watcher.look("hubs", "freshness")]
    assert told == ["fc_pipeline red: the hub http://127.0.0.1:9 does not answer"]


@pytest.mark.slow
def test_a_hub_that_answers_and_lies_behind_what_was_read_is_told(
    pipeline: Pipeline, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was reset. No run fails of it: the sensor waits."""
    right = pipeline.environment["FC_HUB_URLS"]
    names = ("hubs", "runs", "freshness")
    with serving(log_of(casts_at(every_second(1000, HOUR_UNIX, 10)))) as reset:
        monkeypatch.setenv("FC_HUB_URLS", reset)
        watcher.restart()
        told = [title for _ in range(5) for title in watcher.look(*names)]
    assert told == ["fc_pipeline red: no hub can be followed"]
    assert "FC_HUB_URLS" in watcher.receiver.messages[-1]["message"]
    monkeypatch.setenv("FC_HUB_URLS", right)
    watcher.restart()
    assert watcher.look(*names) == ["fc_pipeline over: no hub can be followed"]


def test_a_daemon_that_does_not_beat_is_told_and_its_sensors_are_not(
    pipeline: Pipeline, tmp_path: Path, receiver: Receiver
) -> None:
    @sensor(name="looks_around", minimum_interval_seconds=30)
    def looks_around() -> None:
        """Never ticks here."""

    watcher = Watcher(tmp_path, receiver, Definitions(sensors=[looks_around]))
    told = [title for _ in range(10) for title in watcher.look("sensors and schedules")]
    assert told == ["fc_pipeline red: Dagster's daemon does not beat"]


class Ticking:
    """A sensor whose daemon beats, and the ticks that it leaves in the instance."""

    def __init__(self, pipeline: Pipeline, definition: SensorDefinition) -> None:
        self.instance = pipeline.instance
        repository = RemoteRepositoryOrigin(
            code_location_origin=RegisteredCodeLocationOrigin("fc_pipeline"), repository_name="__repository__"
        )
        self.origin = RemoteInstigatorOrigin(repository_origin=repository, instigator_name=definition.name)
        self.state = InstigatorState(
            self.origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData(min_interval=30)
        )
        self.instance.add_instigator_state(self.state)

    def beat(self, now: float) -> None:
        for kind in self.instance.get_required_daemon_types():
            self.instance.add_daemon_heartbeat(DaemonHeartbeat(now, kind, "daemon", []))

    def tick(self, now: float, status: TickStatus, message: str = "") -> None:
        self.instance.create_tick(
            TickData(
                self.state.instigator_origin_id,
                self.state.instigator_name,
                InstigatorType.SENSOR,
                status,
                now,
                selector_id=self.state.selector_id,
                error=SerializableErrorInfo(message, [], None) if message else None,
            )
        )


def test_a_sensor_that_is_silent_or_fails_is_told_once_each(
    pipeline: Pipeline, tmp_path: Path, receiver: Receiver
) -> None:
    @sensor(name="looks_about", minimum_interval_seconds=30)
    def looks_about() -> None:
        """Its ticks are written by the test."""

    watcher = Watcher(tmp_path, receiver, Definitions(sensors=[looks_about]))
    ticking = Ticking(pipeline, looks_about)

    def look(status: TickStatus | None, message: str = "") -> list[str]:
        ticking.beat(watcher.now)
        if status is not None:
            ticking.tick(watcher.now, status, message)
        return watcher.look("sensors and schedules")

    assert [title for _ in range(9) for title in look(TickStatus.SKIPPED)] == []
    assert [title for _ in range(9) for title in look(None)] == [
        "fc_pipeline red: the sensor looks_about does not tick"
    ]
    assert look(TickStatus.SKIPPED) == ["fc_pipeline over: the sensor looks_about does not tick"]
    assert look(TickStatus.FAILURE, "the hub is on fire") == [], "one failure is followed by the next tick"
    told = [title for _ in range(4) for title in look(TickStatus.FAILURE, "the hub is on fire")]
    assert told == ["fc_pipeline red: the sensor looks_about fails"]
    assert "the hub is on fire" in receiver.messages[-1]["message"]
    assert look(TickStatus.SKIPPED) == ["fc_pipeline over: the sensor looks_about fails"]


def test_a_schedule_is_silent_once_a_tick_is_late(pipeline: Pipeline, tmp_path: Path, receiver: Receiver) -> None:
    definition = ScheduleDefinition(
        name="hourly",
        cron_schedule="3 * * * *",
        target="*",
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
    )
    watcher = Watcher(tmp_path, receiver, Definitions(schedules=[definition]))
    due = watcher.now + 180  # it begins at a full hour
    told_at: list[float] = []
    while watcher.now < due + 600:
        for kind in pipeline.instance.get_required_daemon_types():
            pipeline.instance.add_daemon_heartbeat(DaemonHeartbeat(watcher.now, kind, "daemon", []))
        looked_at = watcher.now
        if watcher.look("sensors and schedules"):
            told_at.append(looked_at - due)
        watcher.now += 100
    assert len(told_at) == 1
    assert 300 < told_at[0] < 500
