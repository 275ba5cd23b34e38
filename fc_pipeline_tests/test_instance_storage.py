"""Dagster's instance by our settings: the database is made where it lacks, and no password is shown."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from dagster import DagsterInstance

from fc_pipeline.instance_storage import DAGSTER_DATABASE
from fc_pipeline.project import project_root
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres


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
