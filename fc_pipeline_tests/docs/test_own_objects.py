"""docs/tables.md, "Your own tables, views, indexes and grants": what it says is what happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import ConfigError, FcPipelineError
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving as served
from fc_pipeline.store import serving
from fc_pipeline.store.schema import NEWEST_REVISION, alembic_config, ensure_schema
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import blocks_of, cast_add, merge, micro_batch
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

OWN = """
CREATE SCHEMA mine;
CREATE TABLE mine.casts (id int);
CREATE TABLE public.notes (id int PRIMARY KEY);
CREATE VIEW mine.texts AS SELECT hash, text FROM public.casts;
CREATE INDEX own_idx ON public.casts (text);
ALTER TABLE public.casts ADD COLUMN own_note text;
CREATE TABLE mine.seen (hash bytea);
CREATE FUNCTION mine.note() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO mine.seen VALUES (NEW.hash); RETURN NEW; END $$;
CREATE TRIGGER own_trigger AFTER INSERT ON public.casts FOR EACH ROW EXECUTE FUNCTION mine.note();
DROP ROLE IF EXISTS docs_reader;
CREATE ROLE docs_reader;
GRANT SELECT ON public.casts TO docs_reader;
"""
DOES_DOCS_READER_READ = "SELECT has_table_privilege('docs_reader', 'casts', 'SELECT')"


def scalar(database: Database, query: str) -> object:
    with database.engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar()


def execute(database: Database, script: str) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(script)


def start(database: Database) -> None:
    """As a start of a release that has something to migrate: the whole of ensure_schema."""
    ensure_schema(database.engine)
    with database.engine.begin() as connection:  # a table of ours is gone, so the second does everything again
        connection.execute(sa.text("DROP TABLE user_data CASCADE"))
    ensure_schema(database.engine)


def test_a_users_own_objects_stay_and_work(database: Database) -> None:
    execute(database, OWN)
    try:
        start(database)
        with FoldSession(database.url, "test") as session:
            session.fold(micro_batch(blocks_of([merge(cast_add(3, "hello"))])))
        assert scalar(database, "SELECT text FROM mine.texts") == "hello"
        assert scalar(database, "SELECT count(*) FROM mine.seen") == 1
        assert scalar(database, "SELECT count(*) FROM casts WHERE own_note IS NULL") == 1
        assert scalar(database, "SELECT to_regclass('own_idx')") is not None
        assert scalar(database, DOES_DOCS_READER_READ) is True
        assert (
            scalar(database, "SELECT count(*) FROM mine.casts") == scalar(database, "SELECT count(*) FROM notes") == 0
        )
    finally:
        execute(database, "DROP OWNED BY docs_reader; DROP ROLE docs_reader")


def test_a_dropped_table_comes_back_without_them(database: Database) -> None:
    execute(database, OWN)
    try:
        execute(database, "DROP TABLE casts CASCADE")
        ensure_schema(database.engine)
        assert scalar(database, "SELECT to_regclass('casts')") is not None
        assert scalar(database, "SELECT to_regclass('casts_fid_network_time_idx')") is not None
        for lost in ("mine.texts", "own_idx"):
            assert scalar(database, f"SELECT to_regclass('{lost}')") is None, lost
        assert scalar(database, DOES_DOCS_READER_READ) is False
        assert scalar(database, "SELECT to_regclass('mine.casts')") is not None
    finally:
        execute(database, "DROP OWNED BY docs_reader; DROP ROLE docs_reader")


LASTING = """
CREATE SCHEMA mine;
CREATE INDEX own_idx ON public.casts (text);
CREATE INDEX own_partial_idx ON public.reactions (target_url) WHERE deleted_at IS NULL;
CREATE VIEW mine.texts AS SELECT hash, text FROM public.casts WHERE deleted_at IS NULL;
CREATE MATERIALIZED VIEW mine.links_per_user AS SELECT fid, count(*) AS links FROM public.links GROUP BY 1;
"""
OVER_WHAT_IS_NEW = """
CREATE VIEW mine.likes AS SELECT t.text, k.likes FROM mine.texts t JOIN public.cast_counts k USING (hash);
CREATE VIEW mine.known AS SELECT fid, text FROM neynar.casts;
CREATE VIEW neynar.own_view AS SELECT hash FROM neynar.casts;
CREATE FUNCTION api.own_function() RETURNS bigint LANGUAGE sql RETURN 3;
"""
OF_LASTING = ("own_idx", "own_partial_idx", "mine.texts", "mine.links_per_user")
OF_NEW = ("mine.likes", "mine.known", "neynar.own_view")
BEFORE_READERS = "0016"
"""The schema of the release before threads, counts and the schemas of readers."""


def numbers(database: Database, *names: str) -> dict[str, object]:
    """Postgres' number of each relation: another one if it was made anew, None if it is gone."""
    return {name: scalar(database, f"SELECT to_regclass('{name}')::oid") for name in names}


@pytest.fixture
def bench(database: Database, lake: Path, lines: list[bytes]) -> Iterator[Workbench]:
    with served(log_from_lines(lines)) as url, workbench(database, lake, url) as opened:
        opened.run()
        yield opened


def test_own_indexes_and_views_survive_starts_backfills_comparisons_and_hours_made_again(
    database: Database, bench: Workbench
) -> None:
    execute(database, LASTING + OVER_WHAT_IS_NEW)
    made = numbers(database, *OF_LASTING, *OF_NEW)
    assert None not in made.values()
    start(database)
    Backfill(bench.replica, "first", BackfillScope()).execute()
    execute(database, "UPDATE casts SET text = 'forged' WHERE deleted_at IS NULL")
    repaired = Backfill(bench.replica, "second", BackfillScope()).execute()
    assert repaired.reconciled.drift["casts"] > 0
    bench.rebuild()
    assert numbers(database, *OF_LASTING, *OF_NEW) == made
    live = scalar(database, "SELECT count(*) FROM casts WHERE deleted_at IS NULL")
    assert scalar(database, "SELECT count(*) FROM mine.texts") == live
    assert scalar(database, "SELECT count(*) FROM mine.texts WHERE text = 'forged'") == 0
    by_index = "SET LOCAL enable_seqscan = off; SELECT count(*) FROM casts WHERE text = 'forged'"
    assert scalar(database, by_index) == 0
    assert scalar(database, "SELECT api.own_function()") == 3


def test_own_indexes_and_views_survive_the_migrations_of_an_upgrade(database: Database, bench: Workbench) -> None:
    with database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), BEFORE_READERS)
    execute(database, LASTING)
    made = numbers(database, *OF_LASTING)
    live = scalar(database, "SELECT count(*) FROM mine.texts")
    ensure_schema(database.engine)
    assert scalar(database, "SELECT version_num FROM pipeline.alembic_version") == NEWEST_REVISION
    assert numbers(database, *OF_LASTING) == made
    assert scalar(database, "SELECT count(*) FROM mine.texts") == live != 0


def test_a_table_is_dropped_with_cascade_alone_and_takes_the_views_over_it(
    database: Database, bench: Workbench
) -> None:
    execute(database, LASTING + OVER_WHAT_IS_NEW)
    with pytest.raises(sa.exc.InternalError, match="other objects depend on it"):
        execute(database, "DROP TABLE casts")
    made = numbers(database, *OF_LASTING, *OF_NEW)
    execute(database, "DROP TABLE casts CASCADE")
    with pytest.raises(sa.exc.ProgrammingError, match=r"neynar\.casts"):
        scalar(database, "SELECT count(*) FROM neynar.casts")
    with pytest.raises(sa.exc.ProgrammingError, match=r"casts"):
        scalar(database, "SELECT count(*) FROM api.user_casts(3)")
    ensure_schema(database.engine)
    with database.engine.connect() as connection:
        assert serving.is_current(connection)
    kept = {"own_partial_idx", "mine.links_per_user"}
    left = numbers(database, *OF_LASTING, *OF_NEW)
    assert left == {name: number if name in kept else None for name, number in made.items()}
    bench.run("again")
    for reading in ("casts WHERE deleted_at IS NULL", "neynar.casts", "dune.dataset_farcaster_casts", "cast_threads"):
        assert scalar(database, f"SELECT count(*) FROM {reading}") != 0, reading


def test_every_table_comes_back_with_the_views_over_it(database: Database) -> None:
    names = [*DATA_TABLES, *(one.name for one in COUNT_TABLES)]
    execute(database, f"DROP TABLE {', '.join(names)} CASCADE")
    ensure_schema(database.engine)
    with database.engine.connect() as connection:
        assert serving.is_current(connection)
    assert [scalar(database, f"SELECT count(*) FROM {name}") for name in names] == [0] * len(names)


def test_a_view_over_one_of_ours_that_has_changed_is_named_and_nothing_else_is_done(database: Database) -> None:
    execute(
        database,
        "CREATE SCHEMA mine; DROP VIEW neynar.fids CASCADE; CREATE VIEW neynar.fids AS SELECT 1 AS of_another_release; "
        "CREATE VIEW mine.over_fids AS SELECT of_another_release FROM neynar.fids; COMMENT ON SCHEMA neynar IS 'older'",
    )
    with pytest.raises(ConfigError, match=r"neynar\.fids has other columns.*mine\.over_fids"):
        ensure_schema(database.engine)
    assert scalar(database, "SELECT of_another_release FROM mine.over_fids") == 1
    execute(database, "DROP VIEW mine.over_fids")
    ensure_schema(database.engine)
    assert scalar(database, "SELECT count(*) FROM neynar.fids") == 0


def test_a_table_with_the_name_of_one_of_ours_is_refused_and_left_alone(empty_database: Database) -> None:
    execute(empty_database, "CREATE TABLE casts (id int)")
    with pytest.raises(sa.exc.ProgrammingError, match=r"casts.*already exists"):
        ensure_schema(empty_database.engine)
    assert [column["name"] for column in sa.inspect(empty_database.engine).get_columns("casts")] == ["id"]


def test_a_trigger_that_fails_fails_the_micro_batch(database: Database) -> None:
    execute(
        database,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no more'; END $$; "
        "CREATE TRIGGER own_trigger AFTER INSERT ON casts FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    with FoldSession(database.url, "test") as session, pytest.raises(FcPipelineError, match="no more"):
        session.fold(micro_batch(blocks_of([merge(cast_add(3, "hello"))])))
    assert scalar(database, "SELECT count(*) FROM pipeline.coverage") == 0
