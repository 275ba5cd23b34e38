"""Canaries: passwords and keys, used in earnest by runs that succeed and fail, and found nowhere afterwards."""

import json
import shutil
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from urllib.parse import quote

import psycopg2
import pytest
import redis
import sqlalchemy as sa

from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.log import load_log
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.local_http import local_answer
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline_tests.support.canaries import Canaries
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, failure, open_pipeline, project_environment
from fc_pipeline_tests.support.postgres import Database

pytestmark = pytest.mark.slow

POSTGRES_PASSWORD = 'CANARYpostgres p%73w/rd\'s "own"'
WRONG_PASSWORD = "CANARYwrong p%73w/rd"
API_KEY = "CANARYkey-7f3a9c"
WRONG_KEY = "CANARYrefused-1b2d"
PATH_KEY = "CANARYpath-5e6f7a8b"
ALERT_TOKEN = "CANARYalert-2c3d4e5f"
ALERT_URLS = (
    f"json://bot:{ALERT_TOKEN}@127.0.0.1:9/{ALERT_TOKEN}?+X-Key={ALERT_TOKEN}, "
    f"mailto://bot:{ALERT_TOKEN}@localhost:9?mode=insecure&to=me@example.com, "
    f"mmost://127.0.0.1:9/{ALERT_TOKEN.replace('-', '')}"
)
"""Nobody listens there."""


@dataclass(frozen=True)
class World:
    """Servers that ask for passwords, a hub that asks for a key, and what a process needs to know of them."""

    folder: Path
    postgres: sa.URL
    redis_url: str
    hub_url: str
    canaries: Canaries

    def environment(self, **variables: str) -> dict[str, str]:
        return project_environment(
            **{
                "FC_DATA_DIR": str(self.folder / "data"),
                "FC_POSTGRES_URL": self.postgres.render_as_string(hide_password=False),
                "FC_REDIS_URL": self.redis_url,
                "FC_HUB_URLS": self.hub_url,
                "FC_HUB_HEADERS": json.dumps({"x-api-key": API_KEY}),
                "FC_HUB_RPS": "1000",  # shared through Redis
                "FC_ALERT_URLS": ALERT_URLS,
                **variables,
            }
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "fc_pipeline.cli", *arguments],
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert self.canaries.in_text(done.stdout + done.stderr) == set(), done.stdout + done.stderr
        return done

    def check_what_is_left(self) -> None:
        """No secret in anything that was written: data folder, the servers' own logs, both databases, Redis."""
        for folder in (self.folder / "data", self.folder / "theirs" / "logs"):
            assert any(folder.iterdir())
            assert self.canaries.in_files(folder) == {}
        for database in ("fc_pipeline", "dagster"):
            url = self.postgres.set(drivername="postgresql+psycopg2", database=database)
            assert self.canaries.in_database(url.render_as_string(hide_password=False)) == {}
        assert self.canaries.in_redis(self.redis_url) == set()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("secrets")
    postgres = EmbeddedPostgres(folder / "theirs", {**TUNING, "shared_buffers": "16MB", "fsync": "off"})
    servers = (postgres, EmbeddedRedis(folder / "theirs"))
    admin, redis_url = (server.acquire() for server in servers)
    with closing(psycopg2.connect(admin)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE canary LOGIN SUPERUSER PASSWORD %s", (POSTGRES_PASSWORD,))
        connection.commit()
    faults = Faults(api_key=API_KEY)
    canaries = Canaries(
        postgres=POSTGRES_PASSWORD,
        wrong_password=WRONG_PASSWORD,
        redis=servers[1].password_file.read_text(),
        key=API_KEY,
        wrong_key=WRONG_KEY,
        path=PATH_KEY,
        alert=ALERT_TOKEN,
        any="CANARY",
    )
    with serving(load_log(project_root() / "data" / "sample" / "events.ndjson.gz"), faults=faults) as hub_url:
        url = sa.make_url(admin).set(username="canary", password=POSTGRES_PASSWORD)
        yield World(folder, url, redis_url, hub_url, canaries)
    for server in servers:
        server.release()


def test_the_search_finds_what_is_there(world: World) -> None:
    """Or the other tests could not fail."""
    folder = world.folder / "planted"
    folder.mkdir()
    (folder / "a.log").write_text(f"GET /?key={API_KEY}")
    (folder / "b.txt").write_text(world.postgres.render_as_string(hide_password=False).replace("CANARY", "canary"))
    (folder / "c.txt").write_bytes(b64encode(f"canary:{POSTGRES_PASSWORD}".encode()))
    found = world.canaries.in_files(folder)
    shutil.rmtree(folder)
    assert found == {"a.log": {"key", "any"}, "c.txt": {"postgres", "any"}}
    engine = sa.create_engine(world.postgres.set(drivername="postgresql+psycopg2", database="postgres"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE planted (a text, b bytea)"))
        packed = {"a": WRONG_PASSWORD, "b": zlib.compress(API_KEY.encode())}
        connection.execute(sa.text("INSERT INTO planted VALUES (:a, :b)"), packed)
    assert world.canaries.in_database(engine.url.render_as_string(hide_password=False)) == {
        "public.planted": {"wrong_password", "key", "any"}
    }
    engine.dispose()
    with redis.Redis.from_url(world.redis_url) as client:
        client.set("planted", API_KEY)
        assert world.canaries.in_redis(world.redis_url) == {"key", "any"}
        client.delete("planted")


def test_what_succeeds_and_what_fails_tells_no_secret(world: World) -> None:
    done = world.run("--debug", "sync", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["complete"]
    with redis.Redis.from_url(world.redis_url) as client:
        assert client.keys("fc_pipeline:budget:*")
    for arguments in (("status", "--json"), ("status",), ("verify", "--sample", "3"), ("backfill", "--fids", "3")):
        assert world.run(*arguments).returncode == 0, arguments
    world.check_what_is_left()


def test_metrics_tell_no_secret(world: World) -> None:
    command = [sys.executable, "-m", "fc_pipeline.cli", "--debug", "metrics", "--port", "0"]
    process = subprocess.Popen(command, env=world.environment(), stdout=PIPE, stderr=PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    status, page = local_answer(int(said.rsplit(":", 1)[1].split("/")[0]), "/metrics", timeout_seconds=60.0)
    process.terminate()
    said += "".join(process.communicate(timeout=60))
    assert status == 200
    assert world.canaries.in_text(said + page.decode()) == set()


@pytest.mark.parametrize(
    ("urls", "code"),
    [(ALERT_URLS, 1), (f"nosuch://{ALERT_TOKEN}@host", 2), (f"mailto://bot:{ALERT_TOKEN}@127.0.0.1:9?mode=none", 2)],
)
def test_who_is_told_of_alerts_is_told_to_nobody_else(world: World, urls: str, code: int) -> None:
    assert world.run("--debug", "alerts", "test", FC_ALERT_URLS=urls).returncode == 1
    done = world.run("alerts", "test", FC_ALERT_URLS=urls)
    assert done.returncode == code, done.stderr
    assert done.stdout.count("not accepted: ") == (3 if code == 1 else 0)


POSTGRES = "FC_POSTGRES_URL"
NOBODY = "127.0.0.1:9"
FAILURES: dict[str, tuple[str, str, int]] = {
    "wrong port": (POSTGRES, f"postgresql://canary:{quote(WRONG_PASSWORD, safe='')}@{NOBODY}/fc_pipeline", 1),
    "unquoted password": (POSTGRES, f"postgresql://canary:{WRONG_PASSWORD}@{NOBODY}/fc_pipeline", 2),
    "no such host": (POSTGRES, f"postgresql://canary:{quote(WRONG_PASSWORD, safe='')}@nowhere.invalid/fc_pipeline", 1),
    "unreadable URL": (POSTGRES, f"postgresql://canary:{WRONG_PASSWORD}@[::1/fc_pipeline", 2),
    "unreadable port": (POSTGRES, f"postgresql://canary:p@h:{WRONG_PASSWORD}@h/fc_pipeline", 2),
    "password in the query": (POSTGRES, f"postgresql://{NOBODY}/fc_pipeline?user=u&password={API_KEY}", 1),
    "refused key": ("FC_HUB_HEADERS", json.dumps({"x-api-key": WRONG_KEY}), 1),
    "refused bearer": ("FC_HUB_HEADERS", json.dumps({"x-api-key": f"Bearer {WRONG_KEY}"}), 1),
    "no hub": ("FC_HUB_URLS", f"http://{NOBODY}/{PATH_KEY}", 1),
    "key in the path": ("FC_HUB_URLS", f"{{hub}}/{PATH_KEY}", 1),
    "key in the query": ("FC_HUB_URLS", f"http://{NOBODY}/?key={WRONG_KEY}", 2),
    "password in the hub's URL": ("FC_HUB_URLS", f"http://u:{API_KEY}@{NOBODY}", 2),
    "no JSON": ("FC_HUB_HEADERS", f'{{"x-api-key": "{WRONG_KEY}"', 2),
    "letters that cannot be sent": ("FC_HUB_HEADERS", json.dumps({"x-api-key": f"{WRONG_KEY} é"}), 2),
    "keys of a lake": ("FC_LAKE_URI", f"s3://AKIA:{API_KEY}@bucket/lake?secret={WRONG_KEY}", 1),
    "a store that nobody knows": ("FC_LAKE_URI", f"nostore://u:{API_KEY}@bucket/lake", 1),
}


ALWAYS_TRIED = ("wrong port", "unreadable port", "refused key", "keys of a lake")


@pytest.mark.parametrize(
    "what", [what if what in ALWAYS_TRIED else pytest.param(what, marks=pytest.mark.faults) for what in FAILURES]
)
def test_a_failure_names_what_is_wrong_and_no_secret(world: World, what: str) -> None:
    name, value, code = FAILURES[what]
    done = world.run("sync", **{name: value.replace("{hub}", world.hub_url)})
    assert done.returncode == code, done.stderr
    assert "\nerror: " in f"\n{done.stderr}"
    assert "Traceback" not in done.stderr
    if what != "no hub":  # that takes its time, and says the same
        told = world.run("--debug", "sync", **{name: value.replace("{hub}", world.hub_url)})
        assert "Traceback" in told.stderr


@pytest.mark.parametrize("wrong", ["password", pytest.param("port", marks=pytest.mark.faults)])
def test_a_redis_that_is_not_there_costs_nothing_but_a_warning(world: World, wrong: str) -> None:
    assert world.run("sync").returncode == 0  # there is something to verify
    url = f"redis://:{API_KEY}@{NOBODY}/0"
    if wrong == "password":
        url = world.redis_url.replace(world.redis_url.split("@")[0], f"unix://:{WRONG_KEY}")
    done = world.run("--debug", "verify", "--fids", "3", FC_REDIS_URL=url)
    assert done.returncode == 0, done.stderr
    assert "budget_not_shared" in done.stderr
    assert json.loads(world.run("status", "--json", FC_REDIS_URL=url).stdout)["redis"].startswith("unreachable")


def test_what_a_failed_run_leaves_in_dagster_tells_no_secret(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """A run whose hub refuses the key and repeats it, then one whose database hangs up in the middle."""
    canaries = Canaries(
        postgres=postgres.password_file.read_text(),
        key=API_KEY,
        wrong_key=WRONG_KEY,
        redis=world.redis_url,
        alert=ALERT_TOKEN,
    )
    with open_pipeline(database, tmp_path / "data", world.hub_url) as pipeline:
        monkeypatch.setenv("FC_REDIS_URL", world.redis_url)
        monkeypatch.setenv("FC_HUB_RPS", "1000")
        monkeypatch.setenv("FC_ALERT_URLS", ALERT_URLS)
        for key, is_right in ((WRONG_KEY, False), (API_KEY, True)):
            monkeypatch.setenv("FC_HUB_HEADERS", json.dumps({"x-api-key": key}))
            result = pipeline.materialize(hour=SAMPLE_HOURS[0], raise_on_error=False)
            assert result.success == is_right
            assert "401 invalid API key" in failure(result) or is_right
        unreachable = sa.make_url(database.url).update_query_dict({"port": "6000"})
        monkeypatch.setenv("FC_POSTGRES_URL", unreachable.render_as_string(hide_password=False))
        result = pipeline.materialize(hour=SAMPLE_HOURS[1], raise_on_error=False)
        assert not result.success
        assert canaries.in_text(failure(result)) == set()
        settings = Settings(data_dir=Path("unused"), lake_uri="unused", postgres_url=database.url)
        assert canaries.in_database(settings.sqlalchemy_url("dagster")) == {}
        assert canaries.in_database(database.sqlalchemy_url) == {}
        assert canaries.in_text(pipeline.instance.info_str()) == set()
    assert canaries.in_files(tmp_path) == {}


def test_nothing_was_left_by_all_of_this(world: World) -> None:
    world.check_what_is_left()
