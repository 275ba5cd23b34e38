"""What fails reaches a person as one line with cause and remedy: in the terminal, the run page and the failed tick.

Each trouble is a real one: nothing listens, a right was taken away, a bucket's store is down, a disk is full.
"""

import errno
import inspect
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import adbc_driver_manager
import aiohttp
import psycopg2
import pyarrow as pa
import pytest
import redis
import sqlalchemy as sa
from dagster import DagsterInstance, SkipReason, build_schedule_context, build_sensor_context

from fc_pipeline import errors
from fc_pipeline.cli.main import main
from fc_pipeline.errors import ConfigError, FcPipelineError
from fc_pipeline.orchestration.failures import TickFailed
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.schedules import close_hour
from fc_pipeline.orchestration.sensors.closed_hours import closed_hours_sensor
from fc_pipeline.orchestration.sensors.feed import hub_event_sensor
from fc_pipeline.orchestration.sensors.gaps import gap_sensor
from fc_pipeline.orchestration.sensors.indexes import index_sensor
from fc_pipeline.orchestration.sensors.keys import key_sensor
from fc_pipeline.orchestration.sensors.stall import stall_sensor
from fc_pipeline.orchestration.sensors.targets import hourly_targets, target_sensor
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import retry
from fc_pipeline_tests.support.few_rights import role
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, defs, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.s3_server import BUCKET, SECRET, s3_server

COMMANDS = (("sync",), ("backfill", "--fids", "3"), ("verify", "--fids", "3"), ("status",), ("up",))
TICKS = (hub_event_sensor, gap_sensor, key_sensor, target_sensor, stall_sensor, closed_hours_sensor, index_sensor)
SCHEDULES = (close_hour, hourly_targets)


@dataclass(frozen=True)
class Said:
    """How a command ended, and what stderr has."""

    code: int
    cause: str
    remedy: str


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with sample_hub() as url:
        yield url


@pytest.fixture(scope="module")
def opened(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, hub: str) -> Iterator[Pipeline]:
    """One hour is in the tables."""
    data_dir = tmp_path_factory.mktemp("pipeline")
    with fresh_database(postgres) as database, open_pipeline(database, data_dir, hub) as pipeline:
        assert pipeline.materialize(hour=SAMPLE_HOURS[0]).success
        yield pipeline


@pytest.fixture
def pipeline(opened: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(retry, "RETRY_BUDGET_SECONDS", 0.1)
    return opened


def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return listening.getsockname()[1]


def said_by(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Said:
    """What a command says that fails: two lines, no traceback, nothing of groups."""
    monkeypatch.setattr(sys, "argv", ["fc-pipeline", *arguments])
    capsys.readouterr()
    ours = logging.getLogger("fc_pipeline")
    before = ours.level, list(ours.handlers), ours.propagate
    with pytest.raises(SystemExit) as ended:
        main()
    ours.level, ours.handlers, ours.propagate = before
    stderr = capsys.readouterr().err
    assert "Traceback" not in stderr, stderr
    assert "ExceptionGroup" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith(("error: ", "hint: "))]
    assert len(lines) == 2, (arguments, stderr)
    assert len(lines[0]) < 500
    assert lines[0].startswith("error: ")
    return Said(int(ended.value.code or 0), lines[0].removeprefix("error: "), lines[1].removeprefix("hint: "))


def ticks(instance: DagsterInstance) -> Iterator[tuple[str, Callable[[], object]]]:
    resources = {"replica": ReplicaResource()}
    for sensor in TICKS:
        context = build_sensor_context(instance=instance, resources=resources, definitions=defs)
        yield sensor.name, lambda sensor=sensor, context=context: sensor(context)
    for schedule in SCHEDULES:
        at = SAMPLE_HOURS[1].start
        context = build_schedule_context(
            instance=DagsterInstance.ephemeral(), resources=resources, scheduled_execution_time=at
        )
        yield schedule.name, lambda schedule=schedule, context=context: schedule(context)


def check_ticks(pipeline: Pipeline, cause: str, remedy: str, *names: str) -> None:
    """Every tick (or those named) fails with one line that tells."""
    for name, tick in ticks(pipeline.instance):
        if names and name not in names:
            continue
        told = first_line_of(tick)
        assert cause in told, name
        assert remedy in told, name


def first_line_of(tick: Callable[[], object]) -> str:
    """What a tick that fails says; one that waits for a hub says it as the reason why it launches nothing."""
    try:
        done = tick()
    except TickFailed as failed:
        return str(failed).splitlines()[0]
    assert isinstance(done, SkipReason)
    assert done.skip_message is not None
    assert done.skip_message.startswith("no hub can be read: ")
    return done.skip_message


def check_run(pipeline: Pipeline, cause: str, remedy: str, *, rebuild: bool = False) -> None:
    """A run fails, and the first line that the run page has of it tells."""
    failed = pipeline.materialize(hour=SAMPLE_HOURS[1], raise_on_error=False, rebuild=rebuild)
    assert not failed.success
    (event,) = [event for event in failed.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    assert error is not None
    first_line = error.message.splitlines()[0]
    assert cause in first_line
    assert remedy in first_line
    assert event.step_failure_data.user_failure_data is not None
    assert cause in str(event.step_failure_data.user_failure_data.description)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_postgres(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    monkeypatch.setenv("FC_POSTGRES_URL", f"postgresql://me:secret@127.0.0.1:{closed_port()}/replica")
    said = said_by(capsys, monkeypatch, *command)
    assert said.code == 1
    assert "refused" in said.cause
    assert "FC_POSTGRES_URL" in said.remedy


def test_ticks_and_runs_without_postgres(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FC_POSTGRES_URL", f"postgresql://me:secret@127.0.0.1:{closed_port()}/replica")
    check_ticks(pipeline, "refused", "is Postgres up")
    check_run(pipeline, "refused", "is Postgres up")


@pytest.fixture
def without_right_on_casts(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """As a role that may do all that the tables' owner may, but insert into casts."""
    url = pipeline.environment["FC_POSTGRES_URL"]
    with role(
        url,
        f"GRANT {sa.make_url(url).username} TO role",
        "ALTER TABLE casts OWNER TO role",
        "REVOKE INSERT ON casts FROM role",
    ) as limited:
        monkeypatch.setenv("FC_POSTGRES_URL", limited)
        yield pipeline


@pytest.mark.slow
def test_a_right_that_is_missing_on_one_table(
    without_right_on_casts: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for command in (("sync",), ("backfill", "--fids", "3")):
        said = said_by(capsys, monkeypatch, *command)
        assert said.code == 1
        assert said.cause == "Postgres: permission denied for table casts (SQLSTATE 42501)"
        assert said.remedy.startswith("the role of FC_POSTGRES_URL lacks this right: docs/roles.sql")
        assert "in the Dagster UI" in said.remedy
    check_run(without_right_on_casts, "permission denied for table casts", "docs/roles.sql")


@pytest.mark.parametrize("command", [("sync",), ("backfill", "--fids", "3"), ("up",)], ids=" ".join)
def test_a_role_that_may_not_make_the_tables(
    pipeline: Pipeline,
    empty_database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
):
    with role(empty_database.url) as url:
        monkeypatch.setenv("FC_POSTGRES_URL", url)
        said = said_by(capsys, monkeypatch, *command)
        check_ticks(pipeline, "permission denied for database", "docs/roles.sql", "gap_sensor", "close_hour")
    assert said.code == 1
    # A backfill opens Dagster's own database first.
    assert "permission denied for" in said.cause
    assert "docs/roles.sql" in said.remedy


@pytest.mark.slow  # Arrow tries again for a while
@pytest.mark.parametrize("command", [("sync",), ("backfill", "--fids", "3")], ids=" ".join)
def test_a_lake_whose_store_is_down(
    pipeline: Pipeline,
    database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    endpoint = f"scheme=http&endpoint_override=127.0.0.1:{closed_port()}&region=eu-central-1"
    monkeypatch.setenv("FC_LAKE_URI", f"s3://KEY:SECRET@bucket/lake?{endpoint}")
    said = said_by(capsys, monkeypatch, *command)
    assert said.code == 1
    assert "onnect to" in said.cause
    assert said.remedy.startswith("is the store up, and its endpoint in FC_LAKE_URI right")
    assert "SECRET" not in said.cause


@pytest.mark.slow
def test_a_lake_that_is_full(
    pipeline: Pipeline,
    database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)  # of which this is to be the lake
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("FC_LAKE_URI", str(disk / "lake"))
        said = said_by(capsys, monkeypatch, "sync")
        assert said.code == 1
        assert "No space left on device" in said.cause
        assert "make room" in said.remedy
        check_run(pipeline, "No space left on device", "make room")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 KB; the test is skipped where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    with ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("command", [("sync",), ("backfill", "--fids", "3"), ("verify", "--fids", "3")], ids=" ".join)
def test_no_hub(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    monkeypatch.setenv("FC_HUB_URLS", f"http://127.0.0.1:{closed_port()}")
    said = said_by(capsys, monkeypatch, *command)
    assert said.code == 1
    assert "hub" in said.cause
    assert "127.0.0.1" in said.cause
    assert said.remedy


@pytest.mark.slow  # Arrow tries again for a while
@pytest.mark.parametrize("command", [("sync",), ("backfill", "--fids", "3")], ids=" ".join)
def test_a_bucket_that_is_not_there(
    pipeline: Pipeline,
    database: Database,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    with s3_server() as s3:
        monkeypatch.setenv("FC_LAKE_URI", s3.uri("lake").replace(f"@{BUCKET}/", "@another-bucket/"))
        said = said_by(capsys, monkeypatch, *command)
    assert said.code == 1
    assert "another-bucket" in said.cause
    assert "bucket" in said.remedy
    assert SECRET not in said.cause


def thrown() -> Iterator[Exception]:
    """An error of each kind of ours, and of each driver."""
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, FcPipelineError):
            error = kind.__new__(kind)
            FcPipelineError.__init__(error, "the thing failed", hint="mend it")
            yield error
    yield psycopg2.OperationalError("the thing failed")
    yield sa.exc.OperationalError("SELECT", None, psycopg2.OperationalError("the thing failed"))
    yield adbc_driver_manager.OperationalError("the thing failed", status_code=adbc_driver_manager.AdbcStatusCode.IO)
    yield aiohttp.ClientConnectionError("the thing failed")
    yield redis.ConnectionError("the thing failed")
    yield pa.ArrowInvalid("the thing failed")
    yield OSError(errno.ENOSPC, "the thing failed")
    yield KeyError("the thing failed")


@pytest.mark.slow
@pytest.mark.parametrize("error", list(thrown()), ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a group"])
def test_whatever_is_thrown_it_is_told_everywhere(
    pipeline: Pipeline,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    wrapped: bool,
):
    """By each command, tick and run: one line with what is wrong, and one with what to do."""

    def fail(_: str) -> None:
        raise ExceptionGroup("unhandled errors in a TaskGroup", [error]) if wrapped else error

    monkeypatch.setattr("fc_pipeline.replica.require_own_session", fail)
    for command in COMMANDS:
        said = said_by(capsys, monkeypatch, *command)
        assert said.code == (2 if isinstance(error, ConfigError) else 1), command
        assert "the thing failed" in said.cause, command
        assert said.remedy
    check_ticks(pipeline, "the thing failed", "")
    check_run(pipeline, "the thing failed", "")


def test_no_redis_where_it_is_named(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_REDIS_URL", f"redis://127.0.0.1:{closed_port()}/0")
    said = said_by(capsys, monkeypatch, "up")
    assert said.cause.startswith("Redis does not answer")
    assert "FC_REDIS_URL" in said.remedy


def test_a_setting_is_wrong_everywhere(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_TARGETS", "some")
    for command in COMMANDS:
        assert said_by(capsys, monkeypatch, *command).code == 2
    check_ticks(pipeline, "FC_TARGETS is 'some'", "expected: 'all' or 'set'")
    check_run(pipeline, "FC_TARGETS is 'some'", "expected: 'all' or 'set'")
