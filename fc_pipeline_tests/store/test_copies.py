"""What the tests' own databases are: the next test finds nothing of what the one before has done."""

from contextlib import closing

import psycopg2
import pytest
from sqlalchemy import text

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.columns import METADATA
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database, fresh_database


def identity(database: Database) -> int:
    """Of the files; the name changes."""
    with database.engine.connect() as connection:
        return connection.execute(
            text("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
        ).scalar_one()


def after(postgres: EmbeddedPostgres, *statements: str) -> bool:
    """Whether a database in which these were executed is given to the next test, which must look like a new one."""
    with fresh_database(postgres) as database:
        before = identity(database), _looks(database)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("THIS", f'"{database.name}"'))
    with fresh_database(postgres) as following:
        assert following.name != database.name
        assert _looks(following) == before[1]
        return identity(following) == before[0]


def _looks(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        columns = connection.exec_driver_sql(
            "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema IN ('public', 'pipeline') ORDER BY 1, 2, 3"
        ).all()
        sequence = connection.exec_driver_sql("SELECT last_value, is_called FROM pipeline.drift_id_seq").all()
        version = connection.exec_driver_sql("SELECT version_num FROM pipeline.alembic_version").all()
        work_mem = connection.exec_driver_sql("SHOW work_mem").all()
    return [
        *columns,
        *sequence,
        *version,
        *work_mem,
        FoldedDatabase(database.url, database.engine).dump(tuple(METADATA.tables)),
    ]


def test_rows_and_numbers_go_and_the_database_is_used_again(postgres: EmbeddedPostgres) -> None:
    assert after(
        postgres,
        "INSERT INTO pipeline.target_denials (fid, named_by) VALUES (3, 'command')",
        "SELECT nextval('pipeline.drift_id_seq')",
        "CREATE TEMPORARY TABLE staged AS SELECT * FROM casts",
        "ANALYZE",
    )


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE casts ADD COLUMN more text",
        "ALTER TABLE casts ALTER COLUMN text SET DEFAULT ''",
        "DROP TABLE casts CASCADE",
        "CREATE INDEX ON casts (text)",
        "CREATE SCHEMA more",
        "GRANT SELECT ON casts TO PUBLIC",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT CREATE ON SCHEMA public TO pg_monitor",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COMMENT ON TABLE casts IS 'changed'",
        "UPDATE pipeline.alembic_version SET version_num = '0001'",
        "ALTER DATABASE THIS SET work_mem = '1MB'",
        "GRANT CREATE ON DATABASE THIS TO PUBLIC",
    ],
)
def test_what_was_changed_otherwise_is_dropped(postgres: EmbeddedPostgres, statement: str) -> None:
    assert not after(postgres, statement)


def test_what_somebody_is_still_connected_to_is_dropped(postgres: EmbeddedPostgres) -> None:
    with fresh_database(postgres) as database:
        before = identity(database)
        forgotten = psycopg2.connect(database.url)
    with closing(forgotten), fresh_database(postgres) as following:
        assert identity(following) != before
        with pytest.raises(psycopg2.OperationalError), forgotten.cursor() as cursor:
            cursor.execute("SELECT 1")
