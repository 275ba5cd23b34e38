"""Whose runs are ended: those of dead launchers, by name; never one whose launcher lives, or that holds a lease."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus, job
from dagster._core.storage.tags import GRPC_INFO_TAG

from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.instance.ending_runs import (
    announce_end,
    fail_predecessors_runs,
    fail_runs_of,
    fail_runs_of_the_dead,
)
from fc_pipeline.orchestration.instance.instances import INSTANCE_TAG, name_of, new_instance, present
from fc_pipeline.orchestration.instance.run_launcher import PipelineRunLauncher
from fc_pipeline.store import lease
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database

STARTED = DagsterRunStatus.STARTED
FAILED = DagsterRunStatus.FAILURE


@job
def anything() -> None:
    """Never executed."""


class Scene:
    """A Postgres that two folders share, and runs of whoever."""

    def __init__(self, pipeline: Pipeline, database: Database, folder: Path) -> None:
        self.instance = pipeline.instance
        self.settings = pipeline.bench.replica.settings
        self.database = database
        self.here, self.elsewhere = folder / "here", folder / "elsewhere"
        self.socket = self.here / "run" / "dagster" / "code_server.sock"

    def run_of(self, launched_by: str | None, socket: Path | None = None, port: int | None = None) -> str:
        tags = {INSTANCE_TAG: launched_by} if launched_by else {}
        if socket or port:
            tags[GRPC_INFO_TAG] = json.dumps({"host": "localhost", "socket": str(socket)} if socket else {"port": port})
        return self.instance.create_run_for_job(anything, tags=tags, status=STARTED).run_id

    def status(self, run_id: str) -> DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def write_as(self, run_id: str) -> sa.Connection:
        """A session through which the run holds an hour's lease."""
        connection = self.database.engine.connect()
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        assert lease.try_take(
            self.database.engine, shard=1, partition="2026-11-01-10:00", holder=f"{run_id}/1", backend_pid=pid
        )
        return connection


@pytest.fixture
def scene(database: Database, tmp_path: Path) -> Iterator[Scene]:
    with open_pipeline(database, tmp_path / "data") as pipeline:
        yield Scene(pipeline, database, tmp_path)


def test_an_up_that_starts_ends_only_what_its_dead_predecessors_launched(scene: Scene):
    me, other, predecessor = new_instance(scene.here), new_instance(scene.elsewhere), new_instance(scene.here)
    ours, theirs = scene.run_of(predecessor, scene.socket), scene.run_of(other, scene.elsewhere / "code_server.sock")
    of_an_older_release = scene.run_of(None, scene.socket)
    of_dagster_dev, by_hand = scene.run_of(None, Path("/tmp/tmpgrpc1234")), scene.run_of(None)  # noqa: S108
    with present(scene.settings, me), present(scene.settings, other):
        ended = fail_predecessors_runs(scene.instance, scene.settings, me, scene.socket)
    assert set(ended) == {ours, of_an_older_release}
    assert scene.status(ours) == scene.status(of_an_older_release) == FAILED
    assert {scene.status(run) for run in (theirs, of_dagster_dev, by_hand)} == {STARTED}


def test_who_has_the_same_folder_and_host_name_is_no_predecessor_while_it_lives(scene: Scene):
    me, twin = new_instance(scene.here), new_instance(scene.here)
    run = scene.run_of(twin)
    with present(scene.settings, me), present(scene.settings, twin):
        assert fail_predecessors_runs(scene.instance, scene.settings, me, scene.socket) == []
    assert scene.status(run) == STARTED
    with present(scene.settings, me):
        assert fail_predecessors_runs(scene.instance, scene.settings, me, scene.socket) == [run]


def test_a_living_lease_protects_the_run_of_a_dead_one(scene: Scene):
    me, predecessor, other = new_instance(scene.here), new_instance(scene.here), new_instance(scene.elsewhere)
    writing, idle, foreign = scene.run_of(predecessor), scene.run_of(predecessor), scene.run_of(other)
    session = scene.write_as(writing)
    assert fail_predecessors_runs(scene.instance, scene.settings, me, scene.socket) == [idle]
    suspects = fail_runs_of_the_dead(scene.instance, scene.settings, set())
    assert suspects == {predecessor, other}
    fail_runs_of_the_dead(scene.instance, scene.settings, suspects)
    assert (scene.status(writing), scene.status(foreign)) == (STARTED, FAILED)
    session.invalidate()  # as when its process is gone
    session.close()
    suspects = fail_runs_of_the_dead(scene.instance, scene.settings, suspects)
    assert suspects == {predecessor}
    assert scene.status(writing) == FAILED


def test_the_leader_ends_what_the_dead_launched_at_the_second_look(scene: Scene):
    """One who lost its session for a moment, as when Postgres is started again, is not taken for dead."""
    leader, dead, blinking = (new_instance(scene.here / name) for name in ("leader", "dead", "blinking"))
    own, lost, kept = scene.run_of(leader), scene.run_of(dead), scene.run_of(blinking)
    by_hand = scene.run_of(None)
    with present(scene.settings, leader):
        suspects = fail_runs_of_the_dead(scene.instance, scene.settings, set())
        assert suspects == {dead, blinking}
        assert scene.status(lost) == STARTED
        with present(scene.settings, blinking):
            assert fail_runs_of_the_dead(scene.instance, scene.settings, suspects) == {dead}
    assert scene.status(lost) == FAILED
    assert {scene.status(run) for run in (own, kept, by_hand)} == {STARTED}


def test_a_code_server_that_ends_announces_the_end_of_its_own_runs_only(scene: Scene):
    me, other = new_instance(scene.here), new_instance(scene.elsewhere)
    ours, theirs = scene.run_of(me, scene.socket), scene.run_of(other, scene.socket)
    announce_end(launched_by=me, address=["-s", str(scene.socket)])
    assert (scene.status(ours), scene.status(theirs)) == (DagsterRunStatus.CANCELING, STARTED)
    without_up, of_another_port = scene.run_of(None, port=4000), scene.run_of(None, port=4001)
    announce_end(launched_by=None, address=["-p", "4000"])
    assert (scene.status(without_up), scene.status(of_another_port)) == (DagsterRunStatus.CANCELING, STARTED)


def test_runs_whose_code_server_died_are_failed_those_of_others_are_not(scene: Scene):
    me, other = new_instance(scene.here), new_instance(scene.elsewhere)
    ours, theirs = scene.run_of(me), scene.run_of(other)
    assert fail_runs_of(scene.instance, me) == [ours]
    assert scene.status(theirs) == STARTED


def test_a_run_of_another_machine_is_not_terminated_from_here_and_its_log_says_where_it_is(scene: Scene):
    run = scene.run_of("far-away:/srv/fc/data 0a1b2c3d", scene.socket)
    assert isinstance(scene.instance.run_launcher, PipelineRunLauncher)
    assert not scene.instance.run_launcher.terminate(run)
    assert scene.status(run) == STARTED
    assert any("another machine (far-away:/srv/fc/data)" in entry.message for entry in scene.instance.all_logs(run))


def end_session(settings: Settings, instance: str) -> None:
    """As a restart of the server does, or a cut connection."""
    with closing(psycopg2.connect(settings.libpq_url("dagster"))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s",
            (name_of(instance),),
        )
        assert cursor.fetchone() == (1,)


def test_a_presence_lost_with_its_session_is_taken_up_again(scene: Scene):
    me = new_instance(scene.here)
    run = scene.run_of(me)
    with present(scene.settings, me):
        end_session(scene.settings, me)
        suspects = {me}
        for _ in range(100):  # its thread looks every two seconds
            suspects = fail_runs_of_the_dead(scene.instance, scene.settings, set())
            if not suspects:
                break
            time.sleep(0.2)
    assert suspects == set()
    assert scene.status(run) == STARTED
