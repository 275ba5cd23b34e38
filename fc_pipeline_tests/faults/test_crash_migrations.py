"""A migration that is killed half way is completed by the next start; an older process writes nothing afterwards."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

import fc_pipeline.store.migrations
from fc_pipeline.backfill import fetch
from fc_pipeline.backfill import run as backfill_module
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import ConfigError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.store.schema import NEWEST_REVISION, alembic_config, ensure_schema
from fc_pipeline_tests.faults.test_postgres_faults import at_work, until_covered
from fc_pipeline_tests.support.crash_scene import BATCH_EVENTS, Scene, covered_blocks, lines_of, open_scene
from fc_pipeline_tests.support.events import blocks_of, cast_add, merge, micro_batch
from fc_pipeline_tests.support.postgres import Database, table_names
from fc_pipeline_tests.support.workbench import workbench

SEED = int(os.environ.get("FC_FAULT_SEED", "20261124"))
STATEMENTS = 60
"""A migration from nothing has more."""


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(postgres, tmp_path_factory.mktemp("scene"), lines_of(41, 1_200)) as opened:
        yield opened


def migrate_and_be_killed(url: str, nth: int) -> int:
    """ensure_schema in a process of its own, killed before its nth statement; how that ended."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        engine = sa.create_engine(url)
        left = [nth]

        def count(*_: object) -> None:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        sa.event.listen(engine, "before_cursor_execute", count)
        ensure_schema(engine)
    finally:
        os._exit(1)


def definition(engine: sa.Engine) -> list[str]:
    """Columns, indexes and constraints of all our tables."""
    query = """
        SELECT format('%s.%s %s %s', table_schema, table_name, column_name, data_type) FROM information_schema.columns
        WHERE table_schema IN ('public', 'pipeline')
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname IN ('public', 'pipeline')
        UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace::regnamespace::text IN ('public', 'pipeline')
    """
    with engine.connect() as connection:
        return sorted(connection.execute(sa.text(query)).scalars())


@pytest.mark.slow
def test_a_migration_killed_half_way_is_completed_by_the_next_start(
    empty_database: Database, scene: Scene, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    seeded = random.Random(SEED)
    points = [*sorted(seeded.sample(range(3, STATEMENTS), 2)), STATEMENTS]
    print(f"FC_FAULT_SEED={SEED} killed before statements {points}")
    for nth in points:
        assert migrate_and_be_killed(empty_database.sqlalchemy_url, nth) == -signal.SIGKILL
        assert table_names(empty_database.engine) == set()  # all of it or nothing
    with workbench(empty_database, tmp_path / "lake", scene.url) as bench:
        bench.run()
        scene.check(bench)


@pytest.mark.faults
def test_killed_between_two_releases(empty_database: Database) -> None:
    """From an older release's schema to this one's."""
    with empty_database.engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        command.upgrade(alembic_config(connection), "0001")
    old = definition(empty_database.engine)
    for nth in (8, 14, 20):
        assert migrate_and_be_killed(empty_database.sqlalchemy_url, nth) == -signal.SIGKILL
        assert definition(empty_database.engine) == old
    ensure_schema(empty_database.engine)
    assert definition(empty_database.engine) != old
    with empty_database.engine.begin() as connection:
        found = connection.exec_driver_sql(f"SELECT version_num FROM {SCHEMA}.alembic_version").scalar_one()
        assert found == NEWEST_REVISION


def migrate_like_a_newer_release(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7234163)")
        connection.exec_driver_sql("ALTER TABLE casts ADD COLUMN from_the_future text")
        connection.exec_driver_sql(f"UPDATE {SCHEMA}.alembic_version SET version_num = '9999'")


def test_a_run_at_work_stops_when_a_newer_release_has_migrated(
    database: Database, scene: Scene, tmp_path: Path
) -> None:
    with workbench(database, tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as bench:
        run = bench.make_run("old", HourWindow(*scene.hours))

        def fails() -> None:
            with pytest.raises(ConfigError, match=r"9999; it knows .*newer fc_pipeline"):
                run.execute()

        with at_work(fails) as working:
            until_covered(bench, 10, working)
            migrate_like_a_newer_release(database.engine)
            before = covered_blocks(bench), bench.dump()
        assert (covered_blocks(bench), bench.dump()) == before
        assert 10 <= before[0] < scene.blocks


@pytest.mark.faults
def test_a_backfill_at_work_stops_as_well(
    database: Database, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (backfill_module, fetch):
        monkeypatch.setattr(module, "CHUNK_FIDS", 4)
    count = "SELECT count(*) AS n FROM pipeline.snapshots"
    with workbench(database, tmp_path / "lake", scene.url) as bench:

        def fails() -> None:
            with pytest.raises(ConfigError, match=r"9999; it knows"):
                Backfill(bench.replica, "old", BackfillScope()).execute()

        with at_work(fails) as working:
            while bench.rows(count)[0].n < 8 and not working.done():
                time.sleep(0.002)
            migrate_like_a_newer_release(database.engine)
            before = bench.rows(count), bench.dump()
        assert (bench.rows(count), bench.dump()) == before


def test_files_of_a_newer_release_on_disk_do_not_make_an_old_process_migrate(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a deployment puts them there while an old process runs on."""
    newer = tmp_path / "migrations"
    shutil.copytree(fc_pipeline.store.migrations.__path__[0], newer)
    (newer / "versions" / "9999_future.py").write_text(
        f'from alembic import op\nrevision = "9999"\ndown_revision = "{NEWEST_REVISION}"\n'
        'def upgrade():\n    op.execute("ALTER TABLE casts ADD COLUMN from_the_future text")\n'
    )
    monkeypatch.setattr(fc_pipeline.store.migrations, "__path__", [str(newer)])
    ensure_schema(database.engine)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {SCHEMA}.alembic_version").scalar_one() == (
            NEWEST_REVISION
        )
    migrate_like_a_newer_release(database.engine)
    with pytest.raises(ConfigError, match="9999"):
        ensure_schema(database.engine)
    batch = micro_batch(blocks_of([merge(cast_add(1, "1"))]))
    with FoldSession(database.url, "old") as session:
        for write in (session.fold, session.refold):
            with pytest.raises(ConfigError, match="9999"):
                write(batch)
