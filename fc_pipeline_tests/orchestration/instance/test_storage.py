"""Dagster's instance by our settings: the database is made where it lacks, and no password is shown."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from dagster import DagsterInstance

from fc_pipeline.config.postgres_url import PostgresUrl
from fc_pipeline.config.project import project_root
from fc_pipeline.errors import ConfigError, PostgresError
from fc_pipeline.orchestration.instance.storage import DAGSTER_DATABASE
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres
from fc_pipeline.store import session


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres that stands for one of the user's own: it has no database for Dagster."""
    server = EmbeddedPostgres(tmp_path / "theirs", {**TUNING, "shared_buffers": "16MB"})
    with closing(psycopg2.connect(server.acquire())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f'DROP DATABASE "{DAGSTER_DATABASE}"')
    yield server
    server.release()


def test_any_dagster_command_finds_its_storage_by_the_settings(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data_dir = tmp_path / "data"
    monkeypatch.setenv("FC_DATA_DIR", str(data_dir))
    monkeypatch.setenv("FC_POSTGRES_URL", server.url())
    with DagsterInstance.from_config(str(project_root())) as instance:
        assert instance.get_runs() == []
        said = instance.info_str()
        assert server.password_file.read_text() not in said
        assert "Postgres" in said
        assert Path(instance.storage_directory()).is_relative_to(data_dir)
        assert instance.run_coordinator is not None
        assert not instance.telemetry_enabled
    with DagsterInstance.from_config(str(project_root())) as instance:
        assert instance.get_runs_count() == 0


def test_dagsters_connections_are_ours_pooled_once_and_opened_again_when_cut(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FC_POSTGRES_URL", server.url())
    with closing(psycopg2.connect(server.url())) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        for setting in ("idle_session_timeout = '1s'", "client_encoding = 'WIN1252'", "search_path = nowhere"):
            cursor.execute(f"ALTER ROLE postgres SET {setting}")
        with DagsterInstance.from_config(str(project_root())) as instance:
            instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=60, max_overflow=20)
            for _ in range(2):
                instance.run_storage.set_cursor_values({"name": "Grüße 🐇"})
                assert instance.run_storage.get_cursor_values({"name"}) == {"name": "Grüße 🐇"}
                assert instance.get_runs() == []
                assert instance.all_instigator_state() == []
                instance.event_log_storage.get_records_for_run("none")
                cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (DAGSTER_DATABASE,))
                kept = [pid for (pid,) in cursor.fetchall()]
                assert len(kept) == 1
                # As a restart or a firewall does.
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (kept[0],))
    clean = psycopg2.connect(server.url(), dbname=DAGSTER_DATABASE, client_encoding="UTF8")
    with closing(clean), clean.cursor() as cursor:
        cursor.execute("SELECT value FROM public.kvs WHERE key = 'name'")
        assert cursor.fetchone() == ("Grüße 🐇",)


def test_a_dagster_database_that_cannot_hold_every_text_is_refused(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FC_POSTGRES_URL", server.url())
    with closing(psycopg2.connect(server.url())) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        made = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 LOCALE_PROVIDER libc"
        cursor.execute(f"CREATE DATABASE {DAGSTER_DATABASE} {made}")
        with pytest.raises(ConfigError, match=r"encoding is LATIN1.*ALTER DATABASE dagster RENAME") as refused:
            DagsterInstance.from_config(str(project_root()))
        cursor.execute((refused.value.hint or "").partition(";")[0])
    with DagsterInstance.from_config(str(project_root())) as instance:
        assert instance.get_runs() == []


def test_a_server_without_a_connection_to_spare_says_so_through_dagster_too(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(session, "WAIT_FOR_CONNECTION_SECONDS", 1.0)
    with closing(psycopg2.connect(server.url())) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute("CREATE ROLE few LOGIN CREATEDB PASSWORD 'secret'")
        parameters = dict(PostgresUrl.parse(server.url()).parameters) | {"user": "few", "password": "secret"}
        url = PostgresUrl(parameters).for_libpq()
        monkeypatch.setenv("FC_POSTGRES_URL", url)
        with DagsterInstance.from_config(str(project_root())) as instance:
            assert instance.get_runs() == []
            cursor.execute("ALTER ROLE few CONNECTION LIMIT 1")  # which it keeps
            with pytest.raises(PostgresError, match=r"SQLSTATE 53300.*max_connections"):
                DagsterInstance.from_config(str(project_root()))
