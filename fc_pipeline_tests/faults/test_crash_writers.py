"""Several writers at the same users and hours at once, and one that was paused and comes back too late."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import LeaseLost
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.faults.crash_runner import Runner
from fc_pipeline_tests.support.crash_scene import (
    BATCH_EVENTS,
    NOTHING_WRONG,
    Scene,
    Verdict,
    covered_blocks,
    keyed_rows,
    lines_of,
    live_rows,
    open_scene,
)
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

SEED = int(os.environ.get("FC_FAULT_SEED", "20261124"))
ACTIVITY = "public.fid_activity"


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(postgres, tmp_path_factory.mktemp("scene"), lines_of(41, 1_200)) as opened:
        yield opened


@pytest.mark.slow
def test_two_runs_on_one_hour(scene: Scene, database: Database, tmp_path: Path) -> None:
    """One writes, the other waits for the hour or finds it done; nothing is written twice."""
    with workbench(database, tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as bench:
        window = HourWindow(*scene.hours)
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(bench.make_run(f"run {n}", window).execute) for n in range(3)]
            events = sum(run.result(timeout=120).events for run in runs)
        assert events == sum(len(one.raws) for one in scene.log.shards.values())
        scene.check(bench)


def jobs(bench: Workbench, scene: Scene, seeded: random.Random) -> list[Callable[[], object]]:
    """Feed, snapshots, and tables from the raw log, by hour and by bucket, after pauses of the seed's choice."""
    window = HourWindow(*scene.hours)
    halves = [BackfillScope(tuple(range(first, 256, 2))) for first in (0, 1)]

    def rebuild() -> None:
        hours = [hour for hour in bench.replica.log.hours() if hour in window]
        if hours:
            bench.run("rebuild", HourWindow(hours[0], hours[-1]), outputs=("casts", "links"), rebuild=True)

    work: list[Callable[[], object]] = [
        bench.make_run("feed", window).execute,
        bench.make_run("second", window).execute,
        Backfill(bench.replica, "even", halves[0]).execute,
        Backfill(bench.replica, "odd", halves[1]).execute,
        Backfill(bench.replica, "all", BackfillScope()).execute,
        rebuild,
    ]
    pauses = [seeded.uniform(0.0, 1.5) for _ in work]

    def after(pause: float, job: Callable[[], object]) -> Callable[[], object]:
        def paused() -> object:
            time.sleep(pause)
            return job()

        return paused

    paired = [after(pause, job) for pause, job in zip(pauses, work, strict=True)]
    seeded.shuffle(paired)
    return paired


@pytest.mark.parametrize(
    "seed",
    [pytest.param(0, marks=pytest.mark.slow), *(pytest.param(n, marks=pytest.mark.faults) for n in range(1, 10))],
)
def test_feed_backfill_and_rebuild_at_once(scene: Scene, database: Database, tmp_path: Path, seed: int) -> None:
    seeded = random.Random(SEED + seed)
    print(f"FC_FAULT_SEED={SEED} seed {seed}")
    with workbench(database, tmp_path / "lake", scene.url, batch_events=seeded.choice((20, 60, 300))) as bench:
        work = jobs(bench, scene, seeded)
        with ThreadPoolExecutor(len(work)) as pool:
            for future in [pool.submit(job) for job in work]:
                future.result(timeout=180)
        assert bench.ledger() == scene.heights
        assert Verdict.of(scene.snapshot_rows, live_rows(bench)) == NOTHING_WRONG
        activity = {ACTIVITY: scene.rows[ACTIVITY]}
        assert Verdict.of(activity, keyed_rows(bench)) == NOTHING_WRONG
        assert bench.rows("SELECT * FROM pipeline.drift") == []
        # From the raw log and the snapshots alone the same comes out again.
        bench.run("again", HourWindow(*scene.hours), rebuild=True)
        assert Verdict.of(scene.snapshot_rows, live_rows(bench)) == NOTHING_WRONG


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10))
def test_a_zombie_that_wakes_after_its_lease_was_taken_writes_nothing(
    scene: Scene, database: Database, tmp_path: Path, seed: int
) -> None:
    """Paused anywhere, with locks or without; another run does the work meanwhile."""
    seeded = random.Random(SEED + seed)
    with (
        workbench(database, tmp_path / "lake", scene.url, batch_events=20) as bench,
        Runner(bench, scene.hours) as runner,
    ):
        pid = runner.start("zombie")
        goal = seeded.randrange(1, scene.blocks // 2)
        while covered_blocks(bench) < goal:
            time.sleep(0.002)
        time.sleep(seeded.uniform(0.0, 0.02))
        os.kill(pid, signal.SIGSTOP)
        # A minute passes: the lease is over; where it held locks in a transaction, Postgres has ended its session.
        with bench.replica.engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'fc_pipeline zombie' AND starts_with(state, 'idle in transaction')"
            )
        time.sleep(0.1)
        with bench.replica.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE pipeline.leases SET heartbeat_at = now() - interval '61 seconds'")
        taken_over = covered_blocks(bench)
        bench.make_run("successor", HourWindow(*scene.hours)).execute()
        by_zombie = lines_by(bench, "zombie")
        os.kill(pid, signal.SIGCONT)
        code = runner.wait()
        print(f"FC_FAULT_SEED={SEED} seed {seed}: paused after {taken_over} blocks, ended with {code}")
        assert lines_by(bench, "zombie") == by_zombie
        scene.check(bench)


def lines_by(bench: Workbench, run_id: str) -> list[tuple[object, ...]]:
    query = "SELECT shard, from_height, to_height, events, committed_at FROM pipeline.coverage WHERE run_id = :run_id"
    return [tuple(row) for row in bench.rows(query + " ORDER BY 1, 2", run_id=run_id)]


def test_a_session_is_not_regained_when_another_run_has_taken_the_hour(
    scene: Scene, database: Database, tmp_path: Path
) -> None:
    """As after a restart of Postgres that another run used: the one that comes back second leaves the hour to it."""
    with workbench(database, tmp_path / "lake", scene.url, batch_events=20) as bench:
        run = bench.make_run("first", HourWindow(*scene.hours))

        def fails() -> None:
            with pytest.raises(LeaseLost, match=r"no longer holds the lease.*while Postgres was away|is being written"):
                run.execute()

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(fails)
            while covered_blocks(bench) < 5:
                time.sleep(0.002)
            with bench.replica.engine.begin() as connection:
                # Another one's, through a session that lives as long as this one's.
                connection.exec_driver_sql(
                    "UPDATE pipeline.leases SET holder = 'other/1', backend_pid = pg_backend_pid()"
                )
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name = 'fc_pipeline first'"
                )
                covered = covered_blocks(bench)
            working.result(timeout=120)
        assert covered_blocks(bench) == covered < scene.blocks
