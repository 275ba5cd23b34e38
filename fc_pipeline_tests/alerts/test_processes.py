"""What is told of `up` and its children, by its file and the process table."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from fc_pipeline.alerts.processes import AREAS, read_processes
from fc_pipeline.services.up_state import UpRecord, UpState, read_up_state


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@contextmanager
def child() -> Generator[int]:
    """A process that sleeps, by its number."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def told(data_dir: Path) -> list[tuple[str, str]]:
    return [(condition.key, condition.severity.value) for condition in read_processes(data_dir).conditions]


def test_where_no_up_is_nothing_is_known(data_dir: Path) -> None:
    assert read_processes(data_dir).unread == AREAS
    record = UpRecord(data_dir, "http://127.0.0.1:3000")
    record.note({"daemon": os.getpid()})
    record.remove()
    assert read_processes(data_dir).unread == AREAS


def test_an_up_whose_children_run_is_well(data_dir: Path) -> None:
    with child() as pid:
        UpRecord(data_dir, "http://127.0.0.1:3000").note({"daemon": pid, "postgres": None})
        reading = read_processes(data_dir)
    assert (reading.conditions, reading.unread) == ((), frozenset())


def test_a_child_that_has_ended_and_one_that_was_started_again(data_dir: Path) -> None:
    record = UpRecord(data_dir, "http://127.0.0.1:3000")
    with child() as first:
        record.note({"daemon": first})
    assert told(data_dir) == [("process:daemon", "red")]
    with child() as second:
        record.note({"daemon": second})
        assert told(data_dir) == [("restarts:daemon", "yellow")]


def test_an_up_that_was_killed_is_gone_and_one_that_failed_says_why(data_dir: Path) -> None:
    with child() as pid:
        record = UpRecord(data_dir, "http://127.0.0.1:3000")
        record.note({"code_server": pid})
        record.fail("Dagster's webserver ended (exit code 1)")
        (condition,) = read_processes(data_dir).conditions
        assert (condition.key, condition.severity) == ("up:gone", "red")
        assert "it ended: Dagster's webserver ended (exit code 1)" in condition.detail

        state = read_up_state(data_dir)
        assert state is not None
        # As another process that has its number by now.
        killed = msgspec.structs.replace(state, failure="", started_unix=state.started_unix - 1000)
        (data_dir / "run" / "up.json").write_bytes(msgspec.json.encode(killed))
        reading = read_processes(data_dir)
        assert told(data_dir) == [("up:gone", "red")]
        assert "Dagster's code server" in reading.conditions[0].detail
        assert reading.unread == AREAS - {"up"}


def test_a_file_of_an_earlier_release_is_none(data_dir: Path) -> None:
    (data_dir / "run" / "up.json").write_text('{"pid": 1, "ui": "http://127.0.0.1:3000"}')
    assert read_up_state(data_dir) is None
    assert not UpState(os.getpid(), 0.0, "").is_alive()
