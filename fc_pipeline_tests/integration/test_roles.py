"""docs/roles.sql on a real server: the pipeline works as fc_writer, and fc_reader reads and can write nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa
from psycopg2.errors import InsufficientPrivilege

from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres, client_program
from fc_pipeline.serving.objects import served_objects
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.pipeline import project_environment, sample_hub
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

pytestmark = pytest.mark.slow

PASSWORD = 'roles\' "own" %40 pass/word'  # such as a URL must have quoted
READABLE = ("coverage", "gaps", "leases", "shards", "snapshots", "snapshot_rounds")
SECRET = ("quarantine", "drift")
WRITES = (
    "INSERT INTO fid_activity SELECT * FROM fid_activity",
    "UPDATE casts SET text = 'forged'",
    "DELETE FROM casts",
    "TRUNCATE casts",
    "DROP TABLE casts",
    "ALTER TABLE casts ADD COLUMN more text",
    "CREATE INDEX ON casts (text)",
    "CREATE TABLE public.mine (n int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DELETE FROM pipeline.coverage",
    "UPDATE pipeline.leases SET holder = 'me'",
    "SELECT * FROM casts FOR UPDATE",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "COPY casts FROM PROGRAM 'true'",
    "SET ROLE fc_writer",
    "ALTER ROLE fc_reader SUPERUSER",
)


class Server:
    """A Postgres of the user's own, and its databases as each role sees them."""

    def __init__(self, postgres: EmbeddedPostgres, admin: sa.URL) -> None:
        self.postgres = postgres
        self.admin = admin

    def url(self, role: str | None = None, database: str | None = None) -> str:
        url = self.admin if role is None else self.admin.set(username=role, password=PASSWORD)
        return url.set(database=database or url.database).render_as_string(hide_password=False)

    def give_roles(self) -> None:
        """As the file says: run it in the replica's database."""
        done = subprocess.run(
            [client_program("psql"), "-X", "-q", "-d", self.url(), "-f", project_root() / "docs" / "roles.sql"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr
        assert "WARNING" not in done.stderr
        for role in ("fc_writer", "fc_reader"):
            self.execute(f"ALTER ROLE {role} PASSWORD %s", PASSWORD)

    def execute(
        self, statement: str, *values: object, role: str | None = None, database: str | None = None
    ) -> list[tuple[object, ...]]:
        with closing(psycopg2.connect(self.url(role, database))) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            if role == "fc_reader":
                cursor.execute("SET default_transaction_read_only = off")  # rights are what must hold
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def database(self, role: str | None = None) -> Database:
        url = sa.make_url(self.url(role)).set(drivername="postgresql+psycopg2")
        text = url.render_as_string(hide_password=False)
        return Database(str(url.database), self.url(role), text, sa.create_engine(text))


@pytest.fixture(params=["superuser", "owner"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One whose administrator is a superuser, or, as in clouds, only the owner of the database."""
    postgres = EmbeddedPostgres(tmp_path / "theirs", {**TUNING, "shared_buffers": "16MB", "fsync": "off"})
    admin = sa.make_url(postgres.acquire())
    server = Server(postgres, admin)
    server.execute("DROP DATABASE dagster")
    if request.param == "owner":
        server.execute("CREATE ROLE theirs LOGIN CREATEROLE CREATEDB PASSWORD 'theirs'")
        server.execute("ALTER DATABASE fc_pipeline OWNER TO theirs")
        server.admin = admin.set(username="theirs", password="theirs")
    yield server
    postgres.release()


def refused(server: Server, statement: str, role: str = "fc_reader", database: str | None = None) -> bool:
    try:
        server.execute(statement, role=role, database=database)
    except InsufficientPrivilege:
        return True
    except psycopg2.OperationalError as error:
        return "permission denied for database" in str(error)
    return False


def check_reader(server: Server) -> None:
    """What it may see, and that it can write nothing."""
    for name in DATA_TABLES:
        (found,) = server.execute(f"SELECT count(*) > 0 FROM {name}", role="fc_reader")
        assert found == (True,), name
    for name in ("neynar.casts", "neynar.verifications", "neynar.fids", "dune.dataset_farcaster_reactions"):
        assert server.execute(f"SELECT * FROM {name}", role="fc_reader") != [], name
    for served in served_objects():
        if served.example:
            server.execute(served.example, role="fc_reader")
    for name in READABLE:
        server.execute(f"SELECT * FROM pipeline.{name}", role="fc_reader")
    assert [name for name in SECRET if not refused(server, f"SELECT * FROM pipeline.{name}")] == []
    server.execute("GRANT INSERT ON casts TO fc_reader", role="fc_reader")  # Postgres warns, and grants nothing
    allowed = [write for write in WRITES if not refused(server, write)]
    # Only a superuser can forbid large objects; elsewhere, read-only transactions keep from making them by mistake.
    is_superuser = server.admin.username == "postgres"
    assert allowed == ([] if is_superuser else [write for write in WRITES if write.startswith("SELECT lo_")])
    assert refused(server, "SELECT 1", database="dagster")


def check_commands_of_the_reader(server: Server, data_dir: Path) -> None:
    """What only looks works, but for what shows records that were quarantined: that is told in a line."""
    with sample_hub() as hub:

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "fc_pipeline.cli", *arguments],
                env=project_environment(
                    FC_DATA_DIR=str(data_dir), FC_POSTGRES_URL=server.url("fc_reader"), FC_HUB_URLS=hub
                ),
                capture_output=True,
                text=True,
                timeout=300,
            )

        status = run("status", "--json")
        assert (status.returncode, json.loads(status.stdout)["state"]) == (0, "complete"), status.stderr
        verified = run("verify", "--sample", "20", "--json")
        assert verified.returncode == 0, verified.stderr
        assert json.loads(verified.stdout)["judged_fids"] > 0
        listed = run("quarantine", "list")
        assert listed.returncode == 1
        assert "permission denied" in listed.stderr
        assert len(listed.stderr.splitlines()) == 2


@pytest.mark.parametrize("server", ["superuser"], indirect=True)
def test_the_pipeline_runs_as_the_writer_and_the_reader_only_reads(server: Server, tmp_path: Path) -> None:
    server.give_roles()
    with sample_hub() as hub:
        done = subprocess.run(
            [sys.executable, "-m", "fc_pipeline.cli", "sync", "--json"],
            env=project_environment(
                FC_DATA_DIR=str(tmp_path / "data"), FC_POSTGRES_URL=server.url("fc_writer"), FC_HUB_URLS=hub
            ),
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["complete"]
    server.give_roles()  # now there are tables in schema pipeline
    check_reader(server)
    check_commands_of_the_reader(server, tmp_path / "data")
    assert server.execute("SELECT count(*) > 0 FROM runs", role="fc_writer", database="dagster") == [(True,)]
    rights = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname ~ '^fc_'"
    assert server.execute(rights) == [(False, False, False)] * 2
    assert server.execute("SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) ~ '^fc_'") == []

    server.execute("CREATE TABLE public.later AS SELECT 7 AS n", role="fc_writer")
    assert server.execute("SELECT n FROM later", role="fc_reader") == [(7,)]
    server.execute("DROP TABLE casts CASCADE", role="fc_writer")
    ensure_schema(server.database("fc_writer").engine)
    assert server.execute("SELECT count(*) FROM casts", role="fc_reader") == [(0,)]


def test_a_replica_that_another_user_has_filled_is_handed_over(server: Server, tmp_path: Path) -> None:
    with sample_hub() as hub:
        with workbench(server.database(), tmp_path / "lake", hub) as bench:
            bench.run()
            before = bench.dump()
        server.give_roles()
        server.give_roles()
        with workbench(server.database("fc_writer"), tmp_path / "lake", hub) as bench:
            bench.tables.empty()
            bench.rebuild()
            assert bench.dump() == before
    check_reader(server)
    server.execute("DROP TABLE links CASCADE", role="fc_writer")
    ensure_schema(server.database("fc_writer").engine)
    assert server.execute("SELECT count(*) FROM links", role="fc_reader") == [(0,)]


@pytest.mark.parametrize("server", ["superuser"], indirect=True)
def test_the_reader_writes_nothing_by_default_even_where_it_had_the_right(server: Server) -> None:
    server.give_roles()
    ensure_schema(server.database("fc_writer").engine)
    server.execute("GRANT INSERT ON casts TO fc_reader", role="fc_writer")
    settings = Settings(data_dir=Path("unused"), lake_uri="unused", postgres_url=server.url("fc_reader"))
    engine = sa.create_engine(settings.sqlalchemy_url())
    with pytest.raises(sa.exc.InternalError, match="read-only transaction"), engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO casts (hash, fid, version) VALUES ('\\x00', 1, 1)"))
    engine.dispose()
