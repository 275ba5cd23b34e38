"""docs/tables.md, "Your own tables, views, indexes and grants": what it says is what happens."""

import pytest
import sqlalchemy as sa

from fc_pipeline.errors import FcPipelineError
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.events import blocks_of, cast_add, merge, micro_batch
from fc_pipeline_tests.support.postgres import Database

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
