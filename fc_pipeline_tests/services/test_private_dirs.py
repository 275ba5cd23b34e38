"""Folders below /tmp go with who made them; those of dead processes at the next start, and no others."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.services import private_dirs
from fc_pipeline.services.private_dirs import private_dir, remove_private_dir, remove_stale_private_dirs
from fc_pipeline.services.redis import EmbeddedRedis


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What stands for /tmp: a folder of this test, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="fc_test-", dir=private_dirs.ELSEWHERE) as folder:
        monkeypatch.setattr(private_dirs, "ELSEWHERE", Path(folder))
        yield Path(folder)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """One in which no socket's path is plain."""
    (tmp_path / "a, b" / "run").mkdir(parents=True)
    return tmp_path / "a, b"


def old(folder: Path) -> None:
    then = time.time() - 2 * private_dirs.STALE_SECONDS
    os.utime(folder, (then, then))


@pytest.fixture
def listener(elsewhere: Path, data_dir: Path) -> Iterator[Path]:
    folder = private_dir(data_dir, "dagster", "code_server.sock", os.geteuid())
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(folder)  # the path of a test's folder may be too long for a socket
        server.bind("code_server.sock")
        os.chdir(before)
        server.listen()
        yield folder


def test_a_server_that_ends_leaves_no_folder_and_starts_again(elsewhere: Path, data_dir: Path):
    if not EmbeddedRedis.can_run():
        pytest.skip("no Redis is installed")
    for _ in range(2):
        server = EmbeddedRedis(data_dir)
        server.acquire()
        assert [path.name for path in elsewhere.iterdir()] == [server._socket().parent.name]
        assert server.release()
        assert list(elsewhere.iterdir()) == []


def test_only_the_old_ones_in_which_nobody_listens_are_stale(elsewhere: Path, data_dir: Path, listener: Path):
    dead = elsewhere / f"fc_pipeline-redis-{os.geteuid()}-0123456789ab"
    dead.mkdir()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(dead / "redis.sock")) if len(str(dead / "redis.sock")) < 107 else (dead / "redis.sock").touch()
    young = elsewhere / f"fc_pipeline-redis-{os.geteuid()}-0123456789ac"
    young.mkdir()
    with_a_file = elsewhere / f"fc_pipeline-redis-{os.geteuid()}-0123456789ad"
    with_a_file.mkdir()
    (with_a_file / "mine.txt").touch()
    other_users = elsewhere / f"fc_pipeline-redis-{os.geteuid() + 1}-0123456789ae"
    other_users.mkdir()
    link = elsewhere / f"fc_pipeline-redis-{os.geteuid()}-0123456789af"
    link.symlink_to(dead)
    other_name = elsewhere / "fc_pipeline_tests-x"
    other_name.mkdir()
    for folder in (dead, with_a_file, other_users, other_name, listener):
        old(folder)
    remove_stale_private_dirs()
    assert {path.name for path in elsewhere.iterdir()} == {
        path.name for path in (young, with_a_file, other_users, link, other_name, listener)
    }


def test_the_end_of_who_made_it_removes_it(elsewhere: Path, data_dir: Path, listener: Path):
    remove_private_dir(data_dir, "redis")
    assert listener.is_dir()
    remove_private_dir(data_dir, "dagster")
    assert not listener.exists()
