"""Whatever the role, the database or the shell says of a session: the same tables, to the last letter."""

import json
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.backfill.verify import verify
from fc_pipeline.config.postgres_url import PostgresUrl
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.store.hostile import HOSTILE, VARIABLES
from fc_pipeline_tests.support.crash_scene import NOTHING_WRONG, Keyed, Verdict, keyed_rows, lines_of, live_rows
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.stock_server import INSTALLED, UNSAFE, stock_server
from fc_pipeline_tests.support.workbench import Workbench, workbench

SERVERS = ["embedded", *(f"stock {folder.parent.name}" for folder in INSTALLED)]


@dataclass(frozen=True)
class Server:
    """A server whose administrator sets things for an ordinary role, and a hub."""

    url: str
    role: str
    hub: str
    expected: tuple[Keyed, Keyed]

    def url_of(self, database: str, user: str | None = None) -> str:
        parameters = dict(PostgresUrl.parse(self.url).parameters) | {"dbname": database}
        return PostgresUrl(parameters | ({"user": user, "password": "secret"} if user else {})).for_libpq()

    @contextmanager
    def administrator(self, database: str = "postgres") -> Generator[sa.Connection]:
        engine = sa.create_engine("postgresql+psycopg2://", creator=_plainly(self.url_of(database)))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
            yield admin
        engine.dispose()

    @contextmanager
    def database(self) -> Generator[str]:
        """An empty one that the role owns, where its own schema is first, and decoys are in another."""
        name = f"hostile_{uuid.uuid4().hex[:12]}"
        with self.administrator() as admin:
            admin.exec_driver_sql(f"CREATE DATABASE {name} OWNER {self.role} ENCODING 'UTF8' TEMPLATE template0")
        with self.administrator(name) as admin:
            admin.exec_driver_sql(f"GRANT ALL ON SCHEMA public TO {self.role}")
            for schema in (self.role, "elsewhere"):
                admin.exec_driver_sql(f"CREATE SCHEMA {schema} AUTHORIZATION {self.role}")
                admin.exec_driver_sql(f"CREATE TABLE {schema}.casts (decoy int)")
        yield name
        with self.administrator() as admin:
            admin.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")

    def knows(self, setting: str) -> bool:
        with self.administrator() as admin:
            return admin.scalar(sa.text("SELECT current_setting(:name, true)"), {"name": setting}) is not None

    def set_for(self, role: str, settings: dict[str, str]) -> None:
        with self.administrator() as admin:
            for name, value in settings.items():
                quoted = value if name == "search_path" else f"'{value}'"
                admin.exec_driver_sql(f"ALTER {role} SET {name} TO {quoted}")

    def reset(self, database: str) -> None:
        with self.administrator() as admin:
            admin.exec_driver_sql(f"ALTER ROLE {self.role} RESET ALL")
            admin.exec_driver_sql(f"ALTER DATABASE {database} RESET ALL")

    def check(self, lake: Path, make_hostile: Callable[[str], object]) -> None:
        """Sync, backfill and verify in sessions that are made hostile; then look at the tables from a clean one."""
        with self.database() as name:
            make_hostile(name)
            own = Database(name, self.url_of(name, self.role), "", sa.create_engine("postgresql+psycopg2://"))
            try:
                with workbench(own, lake / "synced", self.hub) as bench:
                    bench.run()
                    found = verify(bench.replica)
                    assert (found.drift, found.history) == (0, 0)
            finally:
                self.reset(name)
            assert self.verdict(name, keyed_rows, self.expected[0]) == NOTHING_WRONG
            assert self.texts(name) >= 1
        with self.database() as name:
            make_hostile(name)
            own = Database(name, self.url_of(name, self.role), "", sa.create_engine("postgresql+psycopg2://"))
            try:
                with workbench(own, lake / "filled", self.hub) as bench:
                    Backfill(bench.replica, "backfill", BackfillScope()).execute()
                    found = verify(bench.replica)
                    assert (found.drift, found.history) == (0, 0)
            finally:
                self.reset(name)
            assert self.verdict(name, live_rows, self.expected[1]) == NOTHING_WRONG

    def verdict(self, database: str, rows: Callable[[Workbench], Keyed], expected: Keyed) -> Verdict:
        with self.clean(database) as looking:
            return Verdict.of(expected, rows(looking))

    def texts(self, database: str) -> int:
        """How many texts of casts are not ASCII; each is one that the hub has."""
        with self.clean(database) as looking:
            found = {row.text for row in looking.rows("SELECT text FROM public.casts WHERE text ~ '[^ -~]'")}
        assert found <= HUB_TEXTS
        return len(found)

    @contextmanager
    def clean(self, database: str) -> Generator[Any]:
        """To look at tables through a session of the administrator's, in UTC."""
        url = self.url_of(database)
        engine = sa.create_engine(
            "postgresql+psycopg2://", creator=_plainly(url, options="-c timezone=UTC -c search_path=public")
        )
        yield FoldedDatabase(url, engine)
        engine.dispose()


def _plainly(url: str, **options: str) -> Callable[[], Any]:
    """How anybody connects, with psycopg2 alone."""
    import psycopg2

    return lambda: psycopg2.connect(url, client_encoding="UTF8", **options)


LINES = lines_of(17, 240, fids=12)


def _texts() -> set[str]:
    texts: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "text" and isinstance(inner, str):
                    texts.add(inner.replace("\0", ""))
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    for line in LINES:
        walk(json.loads(line))
    return texts


HUB_TEXTS = _texts()


@contextmanager
def serving_server(url: str, tmp: Path) -> Generator[Server]:
    role = f"hostile_{uuid.uuid4().hex[:8]}"
    with serving(log_from_lines(LINES)) as hub:
        bare = Server(url, role, hub, ({}, {}))
        with bare.administrator() as admin:
            admin.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
        with bare.database() as synced, bare.database() as filled:
            for name in (synced, filled):
                own = Database(name, bare.url_of(name, role), "", sa.create_engine("postgresql+psycopg2://"))
                with workbench(own, tmp / name, hub) as bench:
                    if name == synced:
                        bench.run()
                    else:
                        Backfill(bench.replica, "backfill", BackfillScope()).execute()
            assert bare.texts(synced) >= 1  # else nothing is tried
            with bare.clean(synced) as looking, bare.clean(filled) as other:
                expected = (keyed_rows(looking), live_rows(other))
        yield Server(url, role, hub, expected)
        with bare.administrator() as admin:
            admin.exec_driver_sql(f"DROP OWNED BY {role} CASCADE")
            admin.exec_driver_sql(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    tmp = tmp_path_factory.mktemp("expected")
    if request.param == "embedded":
        with serving_server(postgres.url(), tmp) as made:
            yield made
    else:
        binaries = next(folder for folder in INSTALLED if folder.parent.name == request.param.removeprefix("stock "))
        with stock_server(binaries, UNSAFE) as started, serving_server(started.url(), tmp) as made:
            yield made


def hostile(server: Server, by: str, settings: dict[str, str]) -> Callable[[str], object]:
    return lambda name: server.set_for(f"ROLE {server.role}" if by == "role" else f"DATABASE {name}", settings)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_everything_wrong_at_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By role and by the shell; by database, and each alone, in the matrix."""

    def make_hostile(database: str) -> None:
        hostile(server, "role", {name: value for name, value in HOSTILE.items() if server.knows(name)})(database)
        for name, value in VARIABLES.items():
            monkeypatch.setenv(name, value)

    server.check(tmp_path, make_hostile)


@pytest.mark.faults
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("by", ["role", "database"])
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_wrong_setting(server: Server, by: str, name: str, tmp_path: Path) -> None:
    if not server.knows(name):
        pytest.skip(f"this server has no setting {name}")
    server.check(tmp_path, hostile(server, by, {name: HOSTILE[name]}))


@pytest.mark.faults
@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_wrong_variable_of_the_shell(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.check(tmp_path, lambda _: monkeypatch.setenv(name, VARIABLES[name]))
