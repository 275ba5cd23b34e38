"""Postgres is restarted, cuts sessions, holds locks, is far away: the run goes on, or the next one heals."""

import os
import random
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.backfill import fetch
from fc_pipeline.backfill import run as backfill_module
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import PostgresError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import retry
from fc_pipeline_tests.support.crash_scene import BATCH_EVENTS, Scene, covered_blocks, lines_of, open_scene
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.postgres_link import postgres_link
from fc_pipeline_tests.support.workbench import Workbench, workbench

SEED = int(os.environ.get("FC_FAULT_SEED", "20261124"))
SHARD_LOCKS = 0x6663
Work = Callable[[], object]


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(postgres, tmp_path_factory.mktemp("scene"), lines_of(41, 1_200)) as opened:
        yield opened


@pytest.fixture
def bench(scene: Scene, database: Database, tmp_path: Path) -> Iterator[Workbench]:
    with workbench(database, tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as opened:
        yield opened


def run_of(bench: Workbench, scene: Scene, run_id: str = "run") -> Work:
    return bench.make_run(run_id, HourWindow(*scene.hours)).execute


def backfill_of(bench: Workbench, run_id: str = "run") -> Work:
    return Backfill(bench.replica, run_id, BackfillScope()).execute


@contextmanager
def at_work(work: Work) -> Generator[Future[object]]:
    """The work in a thread; waited for at the end, so that what it raises is raised here."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield future
        future.result(timeout=120)


def until_covered(bench: Workbench, blocks: int, working: Future[object]) -> None:
    while covered_blocks(bench) < blocks and not working.done():
        time.sleep(0.002)


def sessions_of_runs(connection: sa.Connection) -> list[int]:
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return list(connection.execute(sa.text(query)).scalars())


@pytest.mark.slow
def test_sessions_are_terminated_again_and_again(bench: Workbench, scene: Scene, database: Database) -> None:
    seeded = random.Random(SEED)
    print(f"FC_FAULT_SEED={SEED}")
    ended = 0
    with at_work(run_of(bench, scene)) as working, database.engine.connect() as other:
        for goal in sorted(seeded.sample(range(1, scene.blocks * 4 // 5), 4)):
            _until_covered_by(other, goal, working)
            time.sleep(seeded.uniform(0.0, 0.02))
            pids = sessions_of_runs(other)
            ended += len(pids)
            for pid in pids:
                other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            other.rollback()
    assert ended >= 4
    scene.check(bench)


def _until_covered_by(connection: sa.Connection, goal: int, working: Future[object]) -> None:
    """As until_covered, through a connection that is not cut."""
    exists = sa.text("SELECT to_regclass('pipeline.coverage') IS NOT NULL")
    query = sa.text("SELECT coalesce(sum(to_height - from_height + 1), 0) FROM pipeline.coverage")
    while not working.done():
        found = connection.execute(exists).scalar_one() and connection.execute(query).scalar_one() >= goal
        connection.rollback()
        if found:
            return
        time.sleep(0.002)


@pytest.mark.slow
def test_a_backfill_whose_sessions_are_terminated(
    bench: Workbench, scene: Scene, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (backfill_module, fetch):
        monkeypatch.setattr(module, "CHUNK_FIDS", 8)
    seeded = random.Random(SEED)
    ended = 0
    with at_work(backfill_of(bench)) as working, database.engine.connect() as other:
        while not working.done():
            time.sleep(seeded.uniform(0.1, 0.4))
            for pid in sessions_of_runs(other):
                other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
                ended += 1
            other.rollback()
            if ended > 12:
                break
    assert ended
    scene.check_snapshots(bench)


def test_an_answer_to_a_commit_that_is_lost_is_not_folded_twice(
    bench: Workbench, scene: Scene, database: Database, tmp_path: Path
) -> None:
    """The server has committed, the run cannot know: it asks the ledger."""
    with (
        postgres_link(database.url) as (link, url),
        workbench(replace(database, url=url), tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as linked,
    ):
        link.skip_commits, link.lose_commits = 20, 3
        run_of(linked, scene)()
        assert link.lose_commits == 0
    scene.check(bench)


@pytest.mark.parametrize("seed", [pytest.param(n, marks=pytest.mark.faults) for n in range(12)])
def test_a_link_that_is_slow_and_cut(
    bench: Workbench, scene: Scene, database: Database, tmp_path: Path, seed: int
) -> None:
    seeded = random.Random(SEED + seed)
    with (
        postgres_link(database.url, seeded=seeded, delay_seconds=0.0005 * (seed % 4)) as (link, url),
        workbench(replace(database, url=url), tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as linked,
    ):
        link.cut_after_bytes, link.cuts_left = seeded.choice((20_000, 100_000, 300_000)), 6
        link.cut_all()
        run_of(linked, scene)()
        print(f"FC_FAULT_SEED={SEED} seed {seed}: cut {link.cuts} times")
    scene.check(bench)


@pytest.mark.faults
def test_a_link_that_is_away_for_longer_than_a_run_waits(
    bench: Workbench, scene: Scene, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_BUDGET_SECONDS", 1.0)
    with (
        postgres_link(database.url) as (link, url),
        workbench(replace(database, url=url), tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as linked,
    ):

        def fails() -> None:
            with pytest.raises(PostgresError, match="is Postgres up, and can it be reached"):
                run_of(linked, scene)()

        with at_work(fails) as working:
            until_covered(bench, 10, working)
            link.refusing = True
            link.cut_all()
        assert 10 <= covered_blocks(bench) < scene.blocks
        link.refusing = False
        run_of(linked, scene, "next")()
    scene.check(bench)


@contextmanager
def role_setting(database: Database, **settings: str) -> Generator[None]:
    """What ALTER ROLE gives every new session of this database."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        where = f'ALTER ROLE postgres IN DATABASE "{database.name}"'
        for name, value in settings.items():
            connection.exec_driver_sql(f"{where} SET {name} = '{value}'")
        yield
        for name in settings:
            connection.exec_driver_sql(f"{where} RESET {name}")


def test_locks_that_others_hold_longer_than_the_role_allows_are_waited_for(
    bench: Workbench, scene: Scene, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        role_setting(database, lock_timeout="100ms", statement_timeout="300ms"),
        at_work(run_of(bench, scene)) as working,
    ):
        for goal, table in ((5, "public.casts"), (15, "pipeline.coverage"), (25, "public.user_profiles")):
            until_covered(bench, goal, working)
            with bench.replica.engine.begin() as connection:
                connection.exec_driver_sql(f"LOCK TABLE {table} IN SHARE MODE")
                time.sleep(0.4)
    assert not [record for record in caplog.records if "postgres_again" in record.message]
    scene.check(bench)


def test_deadlocks_with_another_session(
    bench: Workbench, scene: Scene, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The run holds a shard and waits for a table; the other holds the table and waits for the shard."""
    with role_setting(database, deadlock_timeout="500ms"), at_work(run_of(bench, scene)) as working:
        for goal in (5, 25):
            until_covered(bench, goal, working)
            with bench.replica.engine.begin() as connection:
                connection.exec_driver_sql("SET LOCAL deadlock_timeout TO '20s'")
                connection.exec_driver_sql("LOCK TABLE pipeline.coverage IN SHARE MODE")
                time.sleep(0.2)  # the run waits by now, and looks for a deadlock half a second after it began to
                for shard in (1, 2):
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SHARD_LOCKS}, {shard})")
    assert [record for record in caplog.records if "postgres_again" in record.message and "40P01" in record.message]
    scene.check(bench)


@pytest.mark.faults
def test_statements_that_somebody_cancels_are_named_and_the_next_run_heals(
    bench: Workbench, scene: Scene, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_BUDGET_SECONDS", 1.0)
    waiting = (
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def fails() -> None:
        with pytest.raises(PostgresError, match=r"57014.*cancels"):
            run_of(bench, scene)()

    with (
        database.engine.begin() as holder,
        database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other,
    ):
        holder.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SHARD_LOCKS}, 1)")
        with at_work(fails) as working:
            while not working.done():
                other.exec_driver_sql(waiting)
                time.sleep(0.05)
    bench.run("next", HourWindow(*scene.hours))
    scene.check(bench)


class OwnServer:
    """A server that a test may stop and start, with the bench's database on it."""

    def __init__(self, folder: Path) -> None:
        tuning = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "50", "wal_level": "minimal"}
        self.server = EmbeddedPostgres(folder, {**tuning, "max_wal_senders": "0"})
        self.url = self.server.acquire()

    def database(self) -> Database:
        url = self.url.replace("postgresql://", "postgresql+psycopg2://")
        return Database("fc_pipeline", self.url, url, sa.create_engine(url))

    def end(self, number: int) -> None:
        pid = self.server.running_pid()
        assert pid is not None
        os.kill(pid, number)
        while self.server.running_pid() is not None:
            time.sleep(0.01)

    def start(self) -> None:
        self.server.acquire()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    own = OwnServer(tmp_path / "server")
    yield own
    if own.server.running_pid() is None:
        own.start()
    own.server.release()


@pytest.mark.slow
def test_the_server_is_restarted_and_shut_down_immediately(
    own_server: OwnServer, scene: Scene, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fast (SIGINT), immediate (SIGQUIT), and killed (SIGKILL): with crash recovery, and half a second away each."""
    import signal

    with workbench(own_server.database(), tmp_path / "lake", scene.url, batch_events=20) as bench:
        with at_work(run_of(bench, scene)) as working:
            for goal, number in ((6, signal.SIGINT), (25, signal.SIGQUIT), (45, signal.SIGKILL)):
                _until_covered_patiently(bench, goal, working)
                assert not working.done()
                own_server.end(number)
                time.sleep(0.5)
                own_server.start()
        scene.check(bench)
    assert [record for record in caplog.records if "postgres_again" in record.message]


def _until_covered_patiently(bench: Workbench, goal: int, working: Future[object]) -> None:
    while not working.done():
        try:
            if covered_blocks(bench) >= goal:
                return
        except sa.exc.DBAPIError:  # it has not come back yet
            time.sleep(0.05)
        time.sleep(0.002)
