"""Disks that are full, as small tmpfs: of the tables, of Postgres as a whole, and of the lake."""

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fc_pipeline.errors import LakeError, PostgresError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import retry
from fc_pipeline_tests.faults.test_postgres_faults import OwnServer, at_work, run_of, until_covered
from fc_pipeline_tests.support.crash_scene import BATCH_EVENTS, Scene, covered_blocks, lines_of, open_scene
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

Mount = Callable[[Path, int], Path]


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(postgres, tmp_path_factory.mktemp("scene"), lines_of(41, 1_200)) as opened:
        yield opened


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a tmpfs of so many MB; skips where that is not permitted."""
    with ExitStack() as stack:

        def mounted(folder: Path, megabytes: int) -> Path:
            folder.mkdir(parents=True)
            made = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)],
                capture_output=True,
                text=True,
            )
            if made.returncode:
                pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
            return folder

        yield mounted


def fill(folder: Path) -> Path:
    """A file that leaves no room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size >= 1:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2
    return ballast


def test_no_room_for_the_tables_until_somebody_makes_some(
    scene: Scene,
    postgres: EmbeddedPostgres,
    empty_database: Database,  # its tables are made where there is no room
    tmp_path: Path,
    mount: Mount,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = empty_database
    disk = mount(postgres.data_dir / f"disk_{database.name}", 48)  # where the server's user may pass
    if os.geteuid() == 0:
        user = pwd.getpwnam("pgserver")
        os.chown(disk, user.pw_uid, user.pw_gid)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f"CREATE TABLESPACE {database.name} LOCATION '{disk}'")
        admin.exec_driver_sql(f'ALTER DATABASE "{database.name}" SET default_tablespace = {database.name}')
    database.engine.dispose()
    with workbench(database, tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as bench:
        with at_work(run_of(bench, scene)) as working:
            until_covered(bench, 10, working)
            ballast = fill(disk)
            deadline = time.monotonic() + 10
            while "53100" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.05)
            stopped_at = covered_blocks(bench)
            ballast.unlink()
        assert "53100" in caplog.text
        assert stopped_at < scene.blocks
        scene.check(bench)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f'ALTER DATABASE "{database.name}" RESET default_tablespace')
        for schema in ("pipeline", "public"):
            admin.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
        admin.exec_driver_sql(f"DROP TABLESPACE {database.name}")


@pytest.mark.faults
def test_no_room_for_all_of_postgres_fails_the_run_and_the_next_one_heals(
    scene: Scene, tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log of writes included: it may end altogether, and has to be started again."""
    monkeypatch.setattr(retry, "RETRY_BUDGET_SECONDS", 2.0)
    disk = mount(tmp_path / "disk", 160)
    own = OwnServer(disk / "server")
    try:
        with workbench(own.database(), tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as bench:

            def fails() -> None:
                with pytest.raises(PostgresError, match=r"Postgres: .*(53100|No space|closed|shut|connect|recovery)"):
                    run_of(bench, scene)()

            with at_work(fails) as working:
                until_covered(bench, 10, working)
                ballast = fill(disk)
            ballast.unlink()
            if own.server.running_pid() is None:
                own.start()
            bench.replica.engine.dispose()
            assert 10 <= covered_blocks(bench) < scene.blocks
            bench.run("next", HourWindow(*scene.hours))
            scene.check(bench)
    finally:
        own.server.release()


@pytest.mark.faults
def test_no_room_in_the_lake_fails_the_run_and_the_next_one_heals(
    scene: Scene, database: Database, tmp_path: Path, mount: Mount
) -> None:
    disk = mount(tmp_path / "disk", 2)
    with workbench(database, disk / "lake", scene.url, batch_events=BATCH_EVENTS) as bench:

        def fails() -> None:
            with pytest.raises(LakeError, match=r"No space left on device.*make room"):
                run_of(bench, scene)()

        with at_work(fails) as working:
            until_covered(bench, 10, working)
            ballast = fill(disk)
        assert 10 <= covered_blocks(bench) < scene.blocks
        ballast.unlink()
        bench.run("next", HourWindow(*scene.hours))
        scene.check(bench)
