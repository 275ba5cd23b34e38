"""The embedded Postgres: who may enter, who starts and stops it, and what kill -9 leaves behind."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres
from fc_pipeline.services.system_user import as_server_user
from fc_pipeline_tests.services.user import OtherUser

SMALL = {**TUNING, "shared_buffers": "16MB"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of its own for one test, not yet started; stopped at the end whoever started it."""
    server = EmbeddedPostgres(tmp_path / "data", SMALL)
    yield server
    server.acquire()
    assert server.release()


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall() if cursor.description else []
        connection.commit()
        return found


def test_it_has_both_databases_and_keeps_commits_on_disk(server: EmbeddedPostgres):
    url = server.acquire()
    settings = Settings(data_dir=server.data_dir, lake_uri="unused", postgres_url=url)
    assert rows(settings.libpq_url(), "SELECT current_database()") == [("fc_pipeline",)]
    assert rows(settings.libpq_url("dagster"), "SELECT current_database()") == [("dagster",)]
    assert rows(url, "SHOW fsync") == [("on",)]
    assert rows(url, "SHOW synchronous_commit") == [("on",)]


def test_only_the_password_opens_it_and_only_its_socket(server: EmbeddedPostgres):
    url = server.acquire()
    assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
    password = server.password_file.read_text()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(url.replace(password, "wrong")).close()
    pid = server.running_pid()
    assert pid is not None
    assert [c for c in psutil.Process(pid).net_connections() if c.family.name != "AF_UNIX"] == []
    assert stat.S_IMODE(Path(parse_dsn(url)["host"]).stat().st_mode) == 0o700  # below /tmp where its path is long
    arguments = " ".join(psutil.Process(pid).cmdline())
    assert password not in arguments


def test_the_last_user_stops_it(server: EmbeddedPostgres):
    with OtherUser(EmbeddedPostgres, server.data_dir) as other:
        url = other.url()
        pid = server.running_pid()
        assert server.acquire() == url
        assert not server.started_here
        assert not other.leave()
        assert server.running_pid() == pid
        assert server.release()
        assert server.running_pid() is None


@pytest.mark.slow
def test_two_who_start_it_at_once_share_it(server: EmbeddedPostgres):
    with (
        OtherUser(EmbeddedPostgres, server.data_dir) as one,
        OtherUser(EmbeddedPostgres, server.data_dir) as two,
    ):
        urls = {one.url(), two.url()}
        assert len(urls) == 1
        assert rows(urls.pop(), "SELECT 1") == [(1,)]
        assert sorted([one.leave(), two.leave()]) == [False, True]


@pytest.mark.slow
def test_a_server_whose_users_were_killed_is_adopted(server: EmbeddedPostgres):
    with OtherUser(EmbeddedPostgres, server.data_dir) as other:
        rows(other.url(), "CREATE TABLE kept AS SELECT 7 AS n")
        other.kill()
    pid = server.running_pid()
    assert pid is not None
    assert rows(server.acquire(), "SELECT n FROM kept") == [(7,)]
    assert server.running_pid() == pid
    assert server.release()
    assert server.running_pid() is None


@pytest.mark.slow
def test_a_killed_server_recovers_what_was_committed(server: EmbeddedPostgres):
    rows(server.acquire(), "CREATE TABLE kept AS SELECT 7 AS n")
    pid = server.running_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    assert server.running_pid() is None
    with OtherUser(EmbeddedPostgres, server.data_dir) as other:
        assert rows(other.url(), "SELECT n FROM kept") == [(7,)]
        other.leave()


@pytest.mark.slow
def test_a_pid_file_that_names_another_process_is_not_believed(server: EmbeddedPostgres):
    server.acquire()
    assert server.release()
    stale = [str(os.getpid()), str(server.cluster_dir), "1", "5432", "/nowhere", "", "0 0", "ready"]
    (server.cluster_dir / "postmaster.pid").write_text("\n".join(stale))
    assert server.running_pid() is None
    assert rows(server.acquire(), "SELECT 1") == [(1,)]


@pytest.mark.slow
def test_a_socket_whose_killed_server_nobody_has_taken_note_of_is_taken_over(server: EmbeddedPostgres):
    url = server.acquire()
    (folder,) = parse_qs(urlsplit(url).query)["host"]
    assert server.release()
    with subprocess.Popen(["sleep", "60"], **as_server_user()) as living:
        Path(folder).mkdir(mode=0o700, exist_ok=True)  # a server that ends removes its folder; a killed one does not
        (Path(folder) / ".s.PGSQL.5432.lock").write_text(f"{living.pid}\n{server.cluster_dir}\n")
        assert rows(server.acquire(), "SELECT 1") == [(1,)]
        living.kill()


@pytest.mark.slow
def test_a_killed_initialisation_leaves_no_half_cluster(server: EmbeddedPostgres):
    leftover = server.data_dir / "postgres.new-killed" / "cluster"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18")
    assert rows(server.acquire(), "SELECT 1") == [(1,)]
    assert not leftover.exists()


@pytest.mark.slow
def test_a_checkout_deeper_than_a_socket_path_may_be_works(tmp_path: Path):
    server = EmbeddedPostgres(tmp_path / ("deep" * 15) / ("deeper" * 15) / "data", SMALL)
    url = server.acquire()
    try:
        assert rows(url, "SELECT 1") == [(1,)]
        (socket_dir,) = rows(url, "SHOW unix_socket_directories")[0]
        assert stat.S_IMODE(Path(str(socket_dir)).stat().st_mode) == 0o700
    finally:
        assert server.release()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my, project ü", "q\"u'o$t`e 100% %41+&=#?;\\"])
def test_a_folder_of_any_name_works(tmp_path: Path, name: str):
    server = EmbeddedPostgres(tmp_path / name / "data", SMALL)
    url = server.acquire()
    try:
        settings = Settings(data_dir=server.data_dir, lake_uri="unused", postgres_url=url)
        assert rows(settings.libpq_url("dagster"), "SELECT current_database()") == [("dagster",)]
        (socket_dir,) = rows(url, "SHOW unix_socket_directories")[0]
        assert stat.S_IMODE(Path(str(socket_dir)).stat().st_mode) == 0o700
    finally:
        assert server.release()


@pytest.mark.slow
def test_a_lost_password_is_told_with_the_remedy(server: EmbeddedPostgres):
    server.acquire()
    assert server.release()
    kept = server.password_file.read_text()
    server.password_file.unlink()
    with pytest.raises(ServiceError, match=r"postgres\.password is missing"):
        server.acquire()
    server.password_file.write_text(kept)


def test_files_that_are_no_cluster_are_left_alone(tmp_path: Path):
    foreign = tmp_path / "data" / "postgres" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    with pytest.raises(ServiceError, match="no Postgres cluster"):
        EmbeddedPostgres(tmp_path / "data", SMALL).acquire()
    assert foreign.read_text() == "mine"


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path):
    server = EmbeddedPostgres(tmp_path / "data", {"shared_buffers": "nonsense"})
    with pytest.raises(ServiceError, match="invalid value for parameter"):
        server.acquire()
    assert server.running_pid() is None


def test_a_user_without_a_passwd_entry_is_told_what_to_do(tmp_path: Path):
    """As in a container that is run with any UID, without HOME."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from fc_pipeline.errors import ServiceError\nfrom fc_pipeline.services.postgres import EmbeddedPostgres\n"
        "os.setgroups([])\nos.setgid(54321)\nos.setuid(54321)\nos.umask(0o022)\n"
        "try:\n    EmbeddedPostgres(Path(sys.argv[1])).acquire()\n"
        "except ServiceError as error:\n    print(error.message, error.hint)\n"
    )
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    os.chown(data_dir, 54321, 54321)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(folder.stat().st_mode | 0o001)
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    said = subprocess.run(
        [sys.executable, "-c", program, str(data_dir)], capture_output=True, text=True, env=environment
    )
    assert "UID 54321" in said.stdout, said.stderr
    assert "/etc/passwd" in said.stdout
    assert "FC_POSTGRES_URL" in said.stdout
