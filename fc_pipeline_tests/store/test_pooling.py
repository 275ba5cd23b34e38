"""A real PgBouncer before our Postgres: refused in one line where it shares sessions, else worked through."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg2
import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.orchestration.instance.storage import PipelineInstanceStorage
from fc_pipeline.replica import open_replica
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.system_user import as_server_user, give_to_system_user
from fc_pipeline_tests.support.pipeline import open_pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

START_SECONDS = 30.0


@contextmanager
def pgbouncer(
    postgres: EmbeddedPostgres, folder: Path, modes: Mapping[str, str] | None = None, **options: str
) -> Generator[int]:
    """One with these options, and pool modes of single databases, before the server; gives its port."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    parts = urlsplit(postgres.url())
    port = free_port()
    target = f"host={parse_qs(parts.query)['host'][0]} user={parts.username}"
    if parts.password:
        target += f" password={unquote(parts.password)}"
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "default_pool_size": "20",
        **options,
    }
    singles = [f"{name} = {target} pool_mode={mode}" for name, mode in (modes or {}).items()]
    lines = [
        "[databases]",
        *singles,
        f"* = {target}",
        "[pgbouncer]",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    configuration = folder / "pgbouncer.ini"
    configuration.touch(mode=0o600)
    configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    give_to_system_user(configuration)
    _let_in(folder)
    with subprocess.Popen(
        [program, configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_server_user()
    ) as process:
        try:
            _wait(port, process)
            yield port
        finally:
            process.terminate()


def _let_in(folder: Path) -> None:
    """Let the pooler's user, who is not root, through to the folder: pytest keeps those above it to who runs it."""
    temporary = Path(tempfile.gettempdir())
    for path in (folder, *folder.parents):
        if path != temporary and path.is_relative_to(temporary):
            path.chmod(path.stat().st_mode | 0o001)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg2.connect(f"postgresql://x@127.0.0.1:{port}/postgres").close()
        except psycopg2.OperationalError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("round_robin", ["0", "1"])
def test_a_pooler_that_shares_sessions_is_refused_with_the_remedy(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path, mode: str, round_robin: str
):
    with pgbouncer(postgres, tmp_path, pool_mode=mode, server_round_robin=round_robin) as port:
        url = f"postgresql://x@127.0.0.1:{port}/{database.name}"
        with _used(url):  # the pool holds several sessions by now
            settings = Settings(data_dir=tmp_path, lake_uri=str(tmp_path / "lake"), postgres_url=url)
            with pytest.raises(ConfigError) as caught, open_replica(settings):
                pass
    assert "pooler" in caught.value.message
    assert "\n" not in caught.value.message
    assert "pool_mode = session" in (caught.value.hint or "")


@contextmanager
def _used(url: str) -> Generator[None]:
    """Several sessions are in use at once, and free again."""
    connections = [psycopg2.connect(url) for _ in range(4)]
    for connection in connections:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.01)")
    for connection in connections:
        connection.close()
    yield


def test_one_that_shares_the_sessions_of_dagsters_storage_alone_is_refused(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with (
        open_pipeline(database, tmp_path / "data"),
        pgbouncer(postgres, tmp_path, {"dagster": "transaction"}, pool_mode="session") as port,
    ):
        monkeypatch.setenv("FC_POSTGRES_URL", f"postgresql://x@127.0.0.1:{port}/{database.name}")
        with pytest.raises(ConfigError) as caught:
            PipelineInstanceStorage.from_config_value(None, {})
    assert "pooler" in caught.value.message
    assert "'dagster'" in caught.value.message
    assert "pool_mode = session" in (caught.value.hint or "")


def test_a_pooler_in_session_mode_is_worked_through(database: Database, postgres: EmbeddedPostgres, tmp_path: Path):
    lines = generate(7, fids=20, events=300, start_unix=1_760_000_000, events_per_second=5.0)
    with (
        pgbouncer(postgres, tmp_path, pool_mode="session") as port,
        serving(log_from_lines(lines)) as hub_url,
        workbench(
            Database(database.name, f"postgresql://x@127.0.0.1:{port}/{database.name}", "", database.engine),
            tmp_path / "lake",
            hub_url,
        ) as bench,
    ):
        bench.run()
        assert bench.rows("SELECT count(*) AS n FROM casts")[0].n > 0
