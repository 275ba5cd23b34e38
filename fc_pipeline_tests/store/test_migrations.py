"""ensure_schema: any number of times, at once, on what users did to the database; models and migrations agree."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fc_pipeline.errors import ConfigError
from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.store.schema import NEWEST_REVISION, alembic_config, ensure_schema, owned_by_us
from fc_pipeline.tables.columns import METADATA
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.postgres import Database, table_names


def test_twice_is_as_once(empty_database: Database) -> None:
    ensure_schema(empty_database.engine)
    first = table_names(empty_database.engine)
    ensure_schema(empty_database.engine)
    assert table_names(empty_database.engine) == first == set(METADATA.tables) | {f"{SCHEMA}.alembic_version"}


def test_several_at_once_all_succeed(empty_database: Database) -> None:
    engines = [sa.create_engine(empty_database.sqlalchemy_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ensure_schema, engines))
    for engine in engines:
        engine.dispose()
    assert set(METADATA.tables) < table_names(empty_database.engine)


def test_a_dropped_table_comes_back_with_its_indexes_and_the_others_keep_their_rows(empty_database: Database) -> None:
    ensure_schema(empty_database.engine)
    with empty_database.engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO fid_activity SELECT now(), 1, 0,0,0,0,0,0,0,0,0,0,0, 1"))
        indexes = {index["name"] for index in sa.inspect(connection).get_indexes("casts")}
        connection.execute(sa.text("DROP TABLE casts CASCADE"))
    ensure_schema(empty_database.engine)
    assert {index["name"] for index in sa.inspect(empty_database.engine).get_indexes("casts")} == indexes != set()
    with empty_database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM fid_activity")).scalar_one() == 1


def test_tables_keep_the_storage_that_they_declare_migrated_or_made_anew(empty_database: Database) -> None:
    declared = {
        table.qualified: {f"{name}={value}" for name, value in table.storage_parameters.items()}
        for table in (*ALL_TABLES.values(), OTHER_LEAVES, *COUNT_TABLES)
        if table.storage_parameters
    }
    assert {"fillfactor=70", "autovacuum_vacuum_scale_factor=0.02"} < declared["public.fid_activity"]
    options = sa.text("SELECT oid::regclass::text, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions <> '{}'")
    for drop in ("", *(f"DROP TABLE {name} CASCADE" for name in declared)):
        with empty_database.engine.begin() as connection:
            connection.execute(sa.text("SELECT 1; " + drop))
        ensure_schema(empty_database.engine)
        with empty_database.engine.connect() as connection:
            connection.execute(sa.text("SET search_path = ''"))
            found = {name: set(reloptions) for name, reloptions in connection.execute(options)}
            assert found == declared, drop


def test_migrations_alone_make_every_table(empty_database: Database) -> None:
    with empty_database.engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
        command.upgrade(alembic_config(connection), NEWEST_REVISION)
    assert set(METADATA.tables) <= table_names(empty_database.engine)


def test_models_and_migrations_agree(empty_database: Database) -> None:
    ensure_schema(empty_database.engine)
    with empty_database.engine.connect() as connection:
        options = {"include_schemas": True, "include_name": owned_by_us, "version_table_schema": SCHEMA}
        context = MigrationContext.configure(connection, opts={**options, "compare_type": True})
        assert compare_metadata(context, METADATA) == []
        comments = sa.text(
            "SELECT count(*) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid "
            "WHERE c.oid = 'public.casts'::regclass AND a.attnum > 0 AND col_description(c.oid, a.attnum) IS NULL"
        )
        assert connection.execute(comments).scalar_one() == 0


def test_primary_keys_are_what_the_tables_declare(empty_database: Database) -> None:
    ensure_schema(empty_database.engine)
    inspector = sa.inspect(empty_database.engine)
    for table in METADATA.tables.values():
        found = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
        assert set(found) == {column.name for column in table.primary_key}, table.name


def test_a_database_of_a_newer_release_is_refused_and_left_alone(empty_database: Database) -> None:
    ensure_schema(empty_database.engine)
    with empty_database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE pipeline.alembic_version SET version_num = 'from_the_future'"))
        connection.execute(sa.text("DROP TABLE casts CASCADE"))
    before = table_names(empty_database.engine)
    with pytest.raises(ConfigError, match=r"from_the_future.*newer fc_pipeline"):
        ensure_schema(empty_database.engine)
    assert table_names(empty_database.engine) == before


def test_a_users_own_tables_are_left_alone(empty_database: Database) -> None:
    with empty_database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE notes (id int)"))
        connection.execute(sa.text("CREATE SCHEMA mine"))
        connection.execute(sa.text("CREATE TABLE mine.casts (id int)"))
    ensure_schema(empty_database.engine)
    assert sa.inspect(empty_database.engine).has_table("notes")
    assert [c["name"] for c in sa.inspect(empty_database.engine).get_columns("casts", schema="mine")] == ["id"]
