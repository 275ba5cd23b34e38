"""Any failure as one of our few errors: our own, the drivers' real ones, and what wraps them."""

import asyncio
import errno
import inspect
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import aiohttp
import alembic.util
import psutil
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import sqlalchemy as sa
from dagster import DagsterError, DagsterInvariantViolationError, Failure
from dagster._core.errors import DagsterExecutionStepExecutionError, user_code_error_boundary
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from fc_pipeline import errors
from fc_pipeline.causes import cause_of
from fc_pipeline.errors import (
    AlreadyFolded,
    ConfigError,
    FcPipelineError,
    HubUnavailable,
    LakeError,
    LeaseLost,
    PostgresError,
    ServiceError,
    UnexpectedError,
)
from fc_pipeline.lake.store_errors import store_hint
from fc_pipeline_tests.support.postgres import Database

OURS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FcPipelineError)]
TELLING = [kind for kind in OURS if not issubclass(kind, LeaseLost | AlreadyFolded)]


def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return listening.getsockname()[1]


def made(kind: type[FcPipelineError]) -> FcPipelineError:
    """An error of any kind; what some kinds have beside message and hint does not matter."""
    error = kind.__new__(kind)
    FcPipelineError.__init__(error, "the thing failed", hint="mend it")
    return error


def grouped(error: Exception) -> Exception:
    return ExceptionGroup("unhandled errors in a TaskGroup", [error])


def caused(error: Exception) -> Exception:
    wrapper = RuntimeError("something failed")
    wrapper.__cause__ = error
    return wrapper


def in_step(error: Exception) -> Exception:
    try:
        with user_code_error_boundary(DagsterExecutionStepExecutionError, lambda: "Error occurred", **_NAMES):
            raise error
    except DagsterError as wrapper:  # it leaves its own as they are
        return wrapper


_NAMES = {"step_key": "micro_batch", "op_def_name": "micro_batch", "op_name": "micro_batch"}


def beside_bugs(error: Exception) -> Exception:
    return ExceptionGroup("unhandled errors in a TaskGroup", [KeyError("shard"), error, LeaseLost("its lease is gone")])


WRAPPERS = [grouped, caused, in_step, beside_bugs]


@pytest.mark.parametrize("kind", OURS)
def test_an_error_of_ours_is_its_own_cause(kind: type[FcPipelineError]):
    error = made(kind)
    assert cause_of(error) is error
    assert error.hint == "mend it"
    error.hint = None
    assert cause_of(error).hint


@given(st.sampled_from(TELLING), st.lists(st.sampled_from(WRAPPERS), max_size=4))
def test_whatever_wraps_an_error_of_ours_it_is_found(
    kind: type[FcPipelineError], wrappers: list[Callable[[Exception], Exception]]
):
    wrapped = error = made(kind)
    for wrap in wrappers:
        wrapped = wrap(wrapped)
    assert cause_of(wrapped) is error


def test_what_another_task_caused_is_told_only_where_nothing_else_is_known():
    lost = LeaseLost("its lease is gone")
    assert cause_of(ExceptionGroup("group", [lost, OSError(errno.ENOSPC, "No space left on device")])) is not lost
    assert cause_of(grouped(lost)) is lost


def raised(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is the question
        work()
    return caught.value


def told(error: BaseException, kind: type[FcPipelineError]) -> str:
    """What is told of it: one line, with a remedy, through any wrapper."""
    found = cause_of(error)
    assert type(found) is kind, found
    assert found.hint
    assert "\n" not in str(found)
    assert found.__cause__ is error
    assert isinstance(error, Exception)
    for wrap in (grouped, in_step) if kind is UnexpectedError else (grouped, in_step, caused):
        assert str(cause_of(wrap(error))) == str(found)
    return str(found)


def connections(url: str) -> list[Callable[[], object]]:
    """Ways to open the database that the pipeline uses."""
    libpq = url.replace("postgresql+psycopg2", "postgresql")
    sqlalchemy = libpq.replace("postgresql://", "postgresql+psycopg2://")
    return [
        lambda: psycopg2.connect(libpq),
        lambda: adbc.connect(libpq),
        lambda: sa.create_engine(sqlalchemy).connect(),
    ]


def test_a_postgres_that_is_down():
    port = closed_port()
    for connect in connections(f"postgresql://me:secret@127.0.0.1:{port}/replica"):
        said = told(raised(connect), PostgresError)
        assert "refused" in said
        assert "is Postgres up, and can it be reached at FC_POSTGRES_URL?" in said
        assert "secret" not in said


def test_a_postgres_that_refuses(database: Database):
    url = sa.make_url(database.url)

    def at(**changes: str) -> str:
        return url.set(**changes).render_as_string(hide_password=False)

    for connect in connections(at(password="wrong")):
        assert "are user and password in FC_POSTGRES_URL right" in told(raised(connect), PostgresError)
    for connect in connections(at(database="nowhere")):
        assert "make the database that FC_POSTGRES_URL names" in told(raised(connect), PostgresError)


def test_a_role_without_rights(empty_database: Database):
    database = empty_database
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql("CREATE TABLE casts (fid bigint)")
        admin.exec_driver_sql(f"CREATE ROLE {database.name} LOGIN PASSWORD 'few'")
    url = sa.make_url(database.url).set(username=database.name, password="few").render_as_string(hide_password=False)
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    insert = "INSERT INTO casts VALUES (1)"
    create = "CREATE TABLE more (\n" + ",\n".join(f"column_{n} bigint" for n in range(80)) + "\n)"
    try:
        with closing(psycopg2.connect(url)) as plain, adbc.connect(url) as columnar, engine.connect() as alchemy:
            for execute in (plain.cursor().execute, columnar.cursor().execute, alchemy.exec_driver_sql):
                for statement, what in ((insert, "table casts"), (create, "schema public")):
                    said = told(raised(lambda: execute(statement)), PostgresError)  # noqa: B023 - called at once
                    assert said.startswith("Postgres: ")
                    assert f"permission denied for {what}" in said
                    assert "docs/roles.sql" in said
                    assert "column_7" not in said
                    assert len(said) < 400
                    plain.rollback()
                    alchemy.rollback()
                    columnar.rollback()
    finally:
        engine.dispose()
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
            admin.exec_driver_sql(f"DROP ROLE {database.name}")


def test_digits_of_an_address_are_no_status():
    """A port or a hash may hold 403 or 503."""
    said = store_hint("AWS Error NETWORK_CONNECTION: Failed to connect to 127.0.0.1 port 40350 after 0 ms")
    assert said.startswith("is the store up")
    assert "right to list" in store_hint("HTTP response code 403: Forbidden")
    assert "try again later" in store_hint("HTTP response code 503")


@pytest.mark.slow
def test_a_store_that_is_down():
    uri = f"s3://KEY:SECRET@bucket/lake?scheme=http&endpoint_override=127.0.0.1:{closed_port()}&region=eu-central-1"
    store, root = fs.FileSystem.from_uri(uri)
    said = told(raised(lambda: store.get_file_info(fs.FileSelector(root))), LakeError)
    assert "is the store up, and its endpoint in FC_LAKE_URI right" in said
    assert "SECRET" not in said


def test_a_damaged_file_of_the_lake(tmp_path: Path):
    (tmp_path / "damaged.parquet").write_bytes(b"nothing of Parquet")
    assert "FC_LAKE_URI" in told(raised(lambda: pq.read_table(tmp_path / "damaged.parquet")), LakeError)
    assert "FC_LAKE_URI" in told(pa.ArrowInvalid("Not a Parquet file"), LakeError)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room there"),
        (errno.EACCES, "rights there"),
        (errno.EROFS, "read-only"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOTDIR, "see what it names"),
    ],
)
def test_a_disk_or_folder_that_does_not_do(number: int, remedy: str):
    said = told(OSError(number, os.strerror(number), "/lake/hub_events"), ServiceError)
    assert "/lake/hub_events" in said
    assert os.strerror(number) in said
    assert remedy in said


def test_a_hub_or_redis_that_is_down():
    port = closed_port()

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://127.0.0.1:{port}/v1/info")

    said = told(raised(lambda: asyncio.run(ask())), HubUnavailable)
    assert "ClientConnectorError" in said
    assert "FC_HUB_URLS" in said
    said = told(raised(lambda: redis.Redis(port=port).ping()), ServiceError)
    assert "FC_REDIS_URL" in said


def test_others():
    assert "pipeline.alembic_version" in told(alembic.util.CommandError("Can't locate revision 'x'"), PostgresError)
    assert "FC_BATCH_EVENTS" in told(MemoryError(), ServiceError)
    of_old = ModuleNotFoundError("No module named 'fc_pipeline.instance_storage'", name="fc_pipeline.instance_storage")
    assert "was written by another release" in told(of_old, ConfigError)
    assert "a package is missing" in told(ModuleNotFoundError("No module named 'aiohttp_socks'"), ConfigError)
    assert "psutil" not in told(psutil.NoSuchProcess(7), ServiceError)
    assert "in time" in told(TimeoutError(), ServiceError)
    assert "no such partition" in told(DagsterInvariantViolationError("no such partition"), ServiceError)
    assert "one of its holes" in told(Failure("one of its holes"), ServiceError)


def test_what_nobody_expects_is_called_so():
    said = told(KeyError("shard"), UnexpectedError)
    assert said.startswith("KeyError: 'shard' (fc_pipeline did not expect this: please report it")
    assert "ExceptionGroup" not in str(cause_of(grouped(KeyError("shard"))))


def test_nothing_secret_is_told():
    said = told(RuntimeError("cannot open postgresql://me:secret@host/db"), UnexpectedError)
    assert "secret" not in said
    assert "postgresql://host/db" in said
