"""Commands that say they only read do so: as a role that may do nothing else, and where there is nothing yet."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import Result
from typer.testing import CliRunner

from fc_pipeline.cli.main import app
from fc_pipeline.errors import ConfigError, PostgresError, SchemaMissing
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.store.schema import NEWEST_REVISION
from fc_pipeline_tests.support.few_rights import READER, role
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.target_network import HOUR_OF_ALL, network_of_nine

READING = [
    ("status", "--json"),
    ("verify", "--fids", "1,2", "--json"),
    ("prove", "--json"),
    ("prove", "--messages", "100", "--json"),
    ("quarantine", "list", "--json"),
    ("backfill", "--fids", "1", "--dry-run", "--json"),
    ("backfill", "--gaps", "--dry-run", "--json"),
    ("targets", "list", "--json"),
    ("targets", "why", "1", "--json"),
    ("targets", "add", "5", "--root", "--what-if", "--json"),
]


@pytest.fixture(scope="module")
def pipeline(
    postgres: EmbeddedPostgres, embedded_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """Root 1 and the users it follows, synced."""
    with (
        fresh_database(postgres) as database,
        serving(network_of_nine()) as hub_url,
        open_pipeline(
            database,
            tmp_path_factory.mktemp("pipeline"),
            hub_url,
            FC_TARGETS="set",
            FC_ROOT_FIDS="1",
            FC_REDIS_URL=embedded_redis.url(),
        ) as opened,
    ):
        assert opened.materialize(hour=HOUR_OF_ALL, rebuild=False).success
        yield opened


def run(*arguments: str) -> Result:
    ours = logging.getLogger("fc_pipeline")
    before = ours.level, list(ours.handlers), ours.propagate
    done = CliRunner().invoke(app, arguments)
    ours.level, ours.handlers, ours.propagate = before
    return done


def written(database_url: str) -> dict[str, list[str]]:
    """Every row of every table of ours."""
    engine = sa.create_engine(sa.make_url(database_url).set(drivername="postgresql+psycopg2"))
    tables = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'pipeline')"
    with engine.connect() as connection:
        names = sorted(connection.execute(sa.text(tables)).scalars())
        rows = {
            n: list(connection.execute(sa.text(f"SELECT t::text FROM {n} AS t ORDER BY 1")).scalars()) for n in names
        }
    engine.dispose()
    return rows


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_role_that_may_only_read_can_look(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    url = pipeline.environment["FC_POSTGRES_URL"]
    before = written(url)
    with role(url, *READER) as reader:
        monkeypatch.setenv("FC_POSTGRES_URL", reader)
        done = run(*command)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert json.loads(done.stdout)
    assert written(url) == before


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_even_who_may_write_does_not(
    pipeline: Pipeline,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
):
    """On a database with tables and nothing in them: no first contact is recorded, no target set, no lake."""
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    monkeypatch.setenv("FC_LAKE_URI", str(tmp_path / "lake"))
    before = written(database.url)
    run(*command)
    assert written(database.url) == before
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_without_tables_it_is_said_what_makes_them(
    pipeline: Pipeline, empty_database: Database, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    monkeypatch.setenv("FC_POSTGRES_URL", empty_database.url)
    done = run(*command)
    assert isinstance(done.exception, SchemaMissing)
    assert done.exception.message == "the database has no tables of fc_pipeline yet"
    assert "fc-pipeline up" in (done.exception.hint or "")
    assert written(empty_database.url) == {}


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_an_older_or_newer_schema_is_left_alone(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pipeline.alembic_version SET version_num = '0001'")
    done = run(*command)
    assert isinstance(done.exception, SchemaMissing)
    assert f"an older release (0001; this one knows {NEWEST_REVISION})" in done.exception.message
    assert "migrates them" in (done.exception.hint or "")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pipeline.alembic_version SET version_num = 'later'")
    assert isinstance(run(*command).exception, ConfigError)
    with database.engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM pipeline.alembic_version").scalar_one() == "later"


def test_a_lost_table_is_named(pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE casts CASCADE")
    done = run("status")
    assert isinstance(done.exception, SchemaMissing)
    assert "public.casts" in done.exception.message


def test_who_may_not_read_is_told_which_roles_there_are(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch
):
    with role(database.url) as url:
        monkeypatch.setenv("FC_POSTGRES_URL", url)
        done = run("status")
    assert isinstance(done.exception, PostgresError)
    assert "permission denied" in done.exception.message
    assert "docs/roles.sql" in (done.exception.hint or "")
