"""A session of ours is what store.session says, however the shell, the role, the database and the URL made it."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

import pytest
import sqlalchemy as sa

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError, PostgresError
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import session
from fc_pipeline.store.environment import COMPLETING, IGNORED
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.store.session import SESSION, UTF8_DATABASE, connect, make_engine
from fc_pipeline.store.writer_connection import WriterConnection
from fc_pipeline_tests.store.hostile import HOSTILE, VARIABLES
from fc_pipeline_tests.support.postgres import Database

Ask = Callable[[str, str], list[str | None]]

_ALL = ", ".join(f"current_setting('{name}', true)" for name in SESSION)
ALL_SETTINGS = f"SELECT {_ALL}"


def ask_psycopg(url: str, query: str) -> list[str | None]:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        connection.rollback()  # takes nothing of the session along
        cursor.execute(query)
        return list(cursor.fetchone() or ())


def ask_adbc(url: str, query: str) -> list[str | None]:
    with closing(WriterConnection.open(url)) as connection, connection.cursor() as cursor:
        connection.begin()
        connection.rollback()
        cursor.execute(query)
        return list(cursor.fetchone() or ())


def ask_engine(url: str, query: str) -> list[str | None]:
    engine = make_engine(url)
    try:
        with engine.connect() as first:
            first.rollback()
        with engine.connect() as connection:
            return list(connection.execute(sa.text(query)).one())
    finally:
        engine.dispose()


ASKING = pytest.mark.parametrize("ask", [ask_psycopg, ask_adbc, ask_engine])


@pytest.fixture
def role(empty_database: Database, postgres: EmbeddedPostgres) -> Iterator[str]:
    """An ordinary role that owns the database and has a schema of its own name; see `url_of`."""
    name = f"role_{uuid.uuid4().hex[:12]}"
    with empty_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        admin.exec_driver_sql(f'ALTER DATABASE "{empty_database.name}" OWNER TO {name}')
        admin.exec_driver_sql(f"CREATE SCHEMA {name} AUTHORIZATION {name}")
        admin.exec_driver_sql("CREATE SCHEMA elsewhere")
        admin.exec_driver_sql(f"GRANT ALL ON SCHEMA elsewhere, public TO {name}")
    yield name
    with administrator(postgres) as admin:
        admin.exec_driver_sql(f'ALTER DATABASE "{empty_database.name}" RESET ALL')
    empty_database.engine.dispose()
    with empty_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f'ALTER DATABASE "{empty_database.name}" OWNER TO CURRENT_USER')
        admin.exec_driver_sql(f"DROP OWNED BY {name} CASCADE")
        admin.exec_driver_sql(f"DROP ROLE {name}")


@contextmanager
def administrator(postgres: EmbeddedPostgres) -> Generator[sa.Connection]:
    """A connection to a database of the server that no test sets anything for."""
    engine = make_engine(postgres.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as admin:
        yield admin
    engine.dispose()


def url_of(database: Database, role: str) -> str:
    url = sa.make_url(database.url).set(username=role, password="secret")
    return url.render_as_string(hide_password=False)


def known(database: Database, name: str) -> bool:
    """Whether this server has the setting."""
    with database.engine.connect() as connection:
        return connection.scalar(sa.text("SELECT current_setting(:name, true)"), {"name": name}) is not None


def set_for(postgres: EmbeddedPostgres, role: str, settings: dict[str, str]) -> None:
    """ALTER ROLE … SET or ALTER DATABASE … SET, for all sessions to come."""
    with administrator(postgres) as admin:
        for name, value in settings.items():
            # A list of schemas is not one quoted value.
            quoted = value if name == "search_path" else f"'{value}'"
            admin.exec_driver_sql(f"ALTER {role} SET {name} TO {quoted}")


def test_every_setting_that_is_pinned_has_a_value_that_does_harm() -> None:
    assert HOSTILE.keys() == SESSION.keys()
    assert VARIABLES.keys() == IGNORED
    assert not IGNORED & COMPLETING


@ASKING
@pytest.mark.parametrize("by", ["role", "database", "URL"])
def test_what_is_pinned_beats_role_database_and_url(
    ask: Ask, by: str, empty_database: Database, postgres: EmbeddedPostgres, role: str
) -> None:
    # What would cut the very first statement short is tried with times that leave it room.
    harmless = {"statement_timeout": "9s", "transaction_timeout": "9s", "idle_session_timeout": "9s"}
    hostile = {name: value for name, value in (HOSTILE | harmless).items() if known(empty_database, name)}
    url = url_of(empty_database, role)
    if by == "URL":
        options = "%20".join(f"-c%20{name}%3D{value.replace(' ', '%5C%20')}" for name, value in hostile.items())
        url += f"&client_encoding=WIN1252&options={options}"
    else:
        set_for(postgres, f"ROLE {role}" if by == "role" else f'DATABASE "{empty_database.name}"', hostile)
    found = dict(zip(SESSION, ask(url, ALL_SETTINGS), strict=True))
    assert found == {name: SESSION[name] if name in hostile else None for name in SESSION}


@ASKING
def test_variables_of_the_shell_do_not_reach_a_connection(
    ask: Ask, empty_database: Database, role: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert ask(url_of(empty_database, role), "SELECT current_database(), current_setting('client_encoding')") == [
        empty_database.name,
        "UTF8",
    ]
    assert not IGNORED & os.environ.keys()
    said = [record.getMessage() for record in caplog.records if "postgres_variables_ignored" in record.getMessage()]
    assert len(said) == 1
    assert all(name in said[0] for name in VARIABLES)


@ASKING
def test_who_we_are_may_be_said_by_the_shell(
    ask: Ask, empty_database: Database, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGUSER", role)
    monkeypatch.setenv("PGPASSWORD", "secret")
    url = "postgresql://@" + empty_database.url.partition("@")[2]
    assert ask(url, "SELECT current_user") == [role]


def test_settings_of_one_session_hold_above_those_of_all(empty_database: Database) -> None:
    with closing(connect(empty_database.url, statement_timeout="7s")) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("7s",)


@pytest.mark.slow
@ASKING
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_database_that_cannot_hold_every_text_is_refused_with_the_command_that_makes_one(
    ask: Ask, encoding: str, postgres: EmbeddedPostgres, empty_database: Database
) -> None:
    name = f"test_{uuid.uuid4().hex}"
    other = Settings(data_dir=postgres.data_dir, lake_uri="unused", postgres_url=postgres.url()).libpq_url(name)
    with empty_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        # Only the provider libc has a locale for every encoding.
        made = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 LOCALE_PROVIDER libc"
        admin.exec_driver_sql(f"CREATE DATABASE {name} {made}")
        with pytest.raises(ConfigError) as refused:
            ask(other, "SELECT 1")
        assert f"{name!r}" in refused.value.message
        assert f"its encoding is {encoding}" in refused.value.message
        hint = refused.value.hint or ""
        command = hint[hint.index("CREATE DATABASE") :]
        assert UTF8_DATABASE in command
        admin.exec_driver_sql(command)
        right = Settings(data_dir=postgres.data_dir, lake_uri="unused", postgres_url=postgres.url())
        assert ask(right.libpq_url(f"{name}_utf8"), "SELECT 'Grüße 🐇'") == ["Grüße 🐇"]
        admin.exec_driver_sql(f"DROP DATABASE {name}")
        admin.exec_driver_sql(f"DROP DATABASE {name}_utf8")


@ASKING
def test_a_connection_is_waited_for(ask: Ask, empty_database: Database, role: str) -> None:
    url = url_of(empty_database, role)
    with empty_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    only = connect(url)
    threading.Timer(0.7, only.close).start()
    began = time.monotonic()
    assert ask(url, "SELECT 'here'") == ["here"]
    assert time.monotonic() - began >= 0.2  # it did wait, and was not just let in


@ASKING
def test_where_no_connection_becomes_free_the_hint_says_what_to_do(
    ask: Ask, empty_database: Database, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WAIT_FOR_CONNECTION_SECONDS", 0.3)
    url = url_of(empty_database, role)
    with empty_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    with closing(connect(url)), pytest.raises(PostgresError, match=r"SQLSTATE 53300.*max_connections"):
        ask(url, "SELECT 1")


def test_tables_are_made_in_public_though_the_role_has_a_schema_of_its_name(
    empty_database: Database, role: str
) -> None:
    """And they are named with their schema, so that not even the search path decides."""
    engine = make_engine(url_of(empty_database, role), settings={"search_path": f"{role}, elsewhere"})
    ensure_schema(engine)
    engine.dispose()
    made = sa.text(
        "SELECT table_schema, count(*) FROM information_schema.tables "
        "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') GROUP BY 1"
    )
    with empty_database.engine.connect() as connection:
        found = dict(connection.execute(made).tuples().all())
    assert found.keys() == {"public", "pipeline", "neynar", "dune"}
    assert found["public"] >= 9


def test_a_kept_connection_that_was_cut_is_opened_again(empty_database: Database) -> None:
    engine = make_engine(empty_database.url)
    with engine.connect() as kept:
        pid = kept.scalar(sa.text("SELECT pg_backend_pid()"))
    with empty_database.engine.connect() as admin:
        admin.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with engine.connect() as again:
        assert again.scalar(sa.text("SELECT pg_backend_pid()")) != pid
    engine.dispose()
