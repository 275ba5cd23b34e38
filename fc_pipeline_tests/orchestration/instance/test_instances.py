"""Two daemons on one Postgres: one works, the other stands by and takes over when the first is killed or cut off."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.instance.instances import (
    INSTANCE_VARIABLE,
    leader,
    leader_lock,
    living_instances,
    name_of,
    new_instance,
    number_of,
    place_of,
    present,
)
from fc_pipeline.replica import open_replica
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.networks import generated_network, log_of
from fc_pipeline_tests.support.pipeline import open_pipeline, project_environment
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench

TIMEOUT_SECONDS = 120.0

_LEADER = """
import logging, os
logging.basicConfig(level=logging.INFO)
from fc_pipeline.orchestration.servers import daemon
from fc_pipeline.orchestration.instance.instances import leader_lock
from fc_pipeline.config.settings import Settings
settings = Settings.load(dotenv=None)
lock = leader_lock(settings, os.environ["FC_PIPELINE_INSTANCE"])
daemon.CANDIDACY_POLL_SECONDS = 0.5
daemon._lead(lock, settings)
print("leads", flush=True)
daemon._keep(lock)
"""
"""What the daemon does before and beside Dagster's own."""


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Iterator[Settings]:
    """Of a Postgres with a database for Dagster's storage."""
    with open_pipeline(database, tmp_path / "data") as pipeline:
        yield pipeline.bench.replica.settings


class Other:
    """A daemon's process, without Dagster's own part."""

    def __init__(self, settings: Settings, folder: Path, **variables: str) -> None:
        self.instance = new_instance(folder)
        variables |= {"FC_POSTGRES_URL": settings.postgres_url or "", INSTANCE_VARIABLE: self.instance}
        environment = project_environment(**{"FC_DATA_DIR": str(folder), **variables})
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LEADER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def stands_by(self) -> str:
        """Wait until it says so; the reason that it gives."""
        assert self.process.stderr is not None
        return next(line for line in self.process.stderr if "standing_by" in line)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def pair(settings: Settings, tmp_path: Path) -> Iterator[tuple[Other, Other]]:
    """The first leads, the second stands by."""
    first = Other(settings, tmp_path / "first")
    assert first.says() == "leads"
    second = Other(settings, tmp_path / "second")
    second.stands_by()
    yield first, second
    first.end()
    second.end()


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def end_session(settings: Settings, instance: str) -> None:
    with closing(psycopg2.connect(settings.libpq_url("dagster"))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s",
            (name_of(instance),),
        )
        assert cursor.fetchone() == (1,)


@pytest.mark.slow
def test_the_one_that_stands_by_takes_over_when_the_leader_is_killed(settings: Settings, pair: tuple[Other, Other]):
    first, second = pair
    assert leader(settings) == name_of(first.instance)
    os.kill(first.process.pid, signal.SIGKILL)
    assert second.says() == "leads"
    assert leader(settings) == name_of(second.instance)


@pytest.mark.slow
def test_a_leader_whose_session_is_cut_and_whose_place_is_taken_ends(settings: Settings, pair: tuple[Other, Other]):
    first, second = pair
    os.kill(first.process.pid, signal.SIGSTOP)  # or it would be quicker
    end_session(settings, first.instance)
    assert second.says() == "leads"
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.process.stderr is not None
    assert first.process.wait(TIMEOUT_SECONDS) == -signal.SIGTERM, first.process.stderr.read()
    assert leader(settings) == name_of(second.instance)


@pytest.mark.slow
def test_a_leader_whose_session_is_cut_takes_the_lead_up_again(settings: Settings, tmp_path: Path):
    only = Other(settings, tmp_path)
    assert only.says() == "leads"
    end_session(settings, only.instance)
    until(lambda: leader(settings) == name_of(only.instance))
    assert only.process.poll() is None
    only.end()
    until(lambda: leader(settings) is None)


@pytest.mark.slow
def test_one_whose_hub_is_of_another_network_never_takes_the_lead(settings: Settings, tmp_path: Path):
    """Not even where nobody leads, as after a crash of Postgres; one of the right network does."""
    lake = settings.lake_uri
    with serving(log_of(generated_network(5))) as right, serving(log_of(generated_network(6))) as wrong:
        filled = settings.model_copy(update={"hub_urls": (right,)})
        with open_replica(filled) as replica:
            Workbench(replica, FoldedDatabase(settings.libpq_url(), replica.engine)).run()
        stranger = Other(settings, tmp_path / "stranger", FC_HUB_URLS=wrong, FC_LAKE_URI=lake)
        said = stranger.stands_by()
        assert "nobody leads, and this one cannot: hub" in said
        assert "has another history" in said
        assert "another network wants a database and a lake of its own" in said
        assert leader(settings) is None
        native = Other(settings, tmp_path / "native", FC_HUB_URLS=right, FC_LAKE_URI=lake)
        assert native.says() == "leads"
        assert leader(settings) == name_of(native.instance)
        assert "the daemon of another `up` on this Postgres is at work" in stranger.stands_by()
        native.end()
        until(lambda: leader(settings) is None)
        assert "nobody leads, and this one cannot" in stranger.stands_by()
        assert leader(settings) is None
        stranger.end()


def test_who_lives_is_known_while_it_lives(settings: Settings, tmp_path: Path):
    first, second = new_instance(tmp_path), new_instance(tmp_path)
    assert place_of(first) == place_of(second)
    with present(settings, first):
        with present(settings, second):
            assert living_instances(settings) == {number_of(first), number_of(second)}
        assert living_instances(settings) == {number_of(first)}
        assert leader(settings) is None
    assert living_instances(settings) == set()


def test_a_name_is_what_postgres_says_of_its_session_however_long_the_folder(settings: Settings):
    instance = new_instance(Path("/srv") / ("naïve " * 20))
    lock = leader_lock(settings, instance)
    assert lock.try_take()
    assert leader(settings) == name_of(instance)
    lock.release()
