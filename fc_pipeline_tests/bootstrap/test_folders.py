"""Folders as they are found: of a running node, of another owner, with a space in their path."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.errors import ConfigError
from fc_pipeline.node_db.database import NodeShard, shard_folders
from fc_pipeline_tests.support.node_writer import Stored, write_node
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

HOLDING = """
import fcntl, sys
files = [open(path, "w") for path in sys.argv[1:]]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def links(count: int) -> list[Stored]:
    return [
        Stored("LINK_ADD", fid, 100_000_000 + target, {"type": "follow", "targetFid": target})
        for fid in range(1, 13)
        for target in range(100, 100 + count)
    ]


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = tmp_path / "a node's folder"
    write_node(path, links(3))
    return path


@pytest.fixture
def bench(database: Database, lake: Path) -> Iterator[Workbench]:
    with workbench(database, lake, "http://127.0.0.1:9") as opened:
        yield opened


@contextmanager
def running(node: Path) -> Iterator[None]:
    """Another process holds the databases' locks, as a node does."""
    locks = [str(folder.path / "LOCK") for folder in shard_folders(node)]
    command = [sys.executable, "-c", HOLDING, *locks]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.close()


def test_of_a_running_node_one_process_reads_all(bench: Workbench, node: Path) -> None:
    assert not any(folder.is_in_use for folder in shard_folders(node))
    before = {path: path.stat().st_mtime_ns for path in node.rglob("*")}
    with running(node):
        assert all(folder.is_in_use for folder in shard_folders(node))
        outcome = Bootstrap(bench.replica, node, "load", 2).execute()
    assert sum(outcome.leaves) == 12 * 4
    assert bench.rows("SELECT count(*) FROM links WHERE deleted_at IS NULL") == [(36,)]
    assert {path: path.stat().st_mtime_ns for path in node.rglob("*") if path.name != "LOCK"} == {
        path: time for path, time in before.items() if path.name != "LOCK"
    }


def test_a_folder_that_cannot_be_written_is_read(bench: Workbench, node: Path) -> None:
    for path in [*node.rglob("*"), node]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        outcome = Bootstrap(bench.replica, node, "load", 1).execute()
    finally:
        for path in [node, *node.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert sum(outcome.leaves) == 12 * 4
    assert not list(node.rglob("rocksdict-config.json"))


def test_the_state_that_files_stand_at(node: Path) -> None:
    for folder in shard_folders(node):
        with NodeShard(folder) as shard:
            assert (shard.height, shard.block_unix) == (100, 1_795_876_851)
            assert shard.header is not None
            assert (shard.header.header.shard, shard.header.header.height) == (folder.shard, 100)


def test_where_only_targets_are_kept_it_is_refused(database: Database, lake: Path, node: Path) -> None:
    targets = {"targets": "set", "root_fids": frozenset({3})}
    with workbench(database, lake, "http://127.0.0.1:9", **targets) as bench:
        with pytest.raises(ConfigError, match="FC_TARGETS=set keeps targets alone") as refusal:
            Bootstrap(bench.replica, node, "load", 1).execute()
        assert "FC_TARGETS=all" in str(refusal.value)
