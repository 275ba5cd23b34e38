"""FC_LOG_FORMAT=json: what commands say to stderr, and all that a whole `up` writes into its logs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.services import embedded_servers
from fc_pipeline.services.log_files import keep_small
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.up import Up, data_dir, environment, marked  # noqa: F401 - a fixture

OURS = re.compile(r"^\S+ \S+ (INFO|WARNING|ERROR) fc_pipeline\.")
"""As the text format begins a line."""


def said_by(data_dir: Path, *arguments: str, **variables: str) -> list[dict[str, Any]]:  # noqa: F811
    """What a command that fails writes to stderr, line by line."""
    command = [sys.executable, "-m", "fc_pipeline.cli", *arguments]
    env = {**environment(data_dir), **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_warnings_and_the_error_of_a_command_are_an_object_each(data_dir: Path):  # noqa: F811
    warned, failed = said_by(
        data_dir, "status", FC_LOG_FORMAT="json", FC_HUB_URL="x", FC_POSTGRES_URL="postgresql://127.0.0.1:9/none"
    )
    assert (warned["level"], warned["logger"]) == ("warning", "fc_pipeline.config.variables")
    assert "FC_HUB_URLS" in warned["message"]
    assert (failed["level"], failed["logger"], failed["event"]) == ("error", "fc_pipeline.cli", "command_failed")
    assert "127.0.0.1" in failed["reason"]
    assert failed["hint"]


def test_another_format_is_refused_in_text(data_dir: Path):  # noqa: F811
    with pytest.raises(json.JSONDecodeError):
        said_by(data_dir, "status", FC_LOG_FORMAT="xml")


@pytest.mark.slow
def test_all_that_up_starts_logs_objects_into_files_that_are_kept_small(data_dir: Path):  # noqa: F811
    up = Up(data_dir, free_port(), FC_LOG_FORMAT="json")
    up.wait_until_up()
    logs = data_dir / "logs"
    servers = embedded_servers(Settings(data_dir=data_dir, lake_uri="unused"))
    pids = {*marked(data_dir), *(server.running_pid() for server in servers)} - {None}
    appended = {file for pid in pids if pid is not None for file in _written(pid) if file.is_relative_to(data_dir)}
    assert {"postgres.log", "redis.log", "sample_hub.log", "daemon.log"} <= {file.name for file in logs.iterdir()}
    assert {file for file in appended if file.parent == logs} == set(logs.glob("*.log"))
    assert all(file.parent == logs or "compute_logs" in file.parts for file in appended), appended
    deadline = time.monotonic() + 120
    while not (found := _lines_of_runs(data_dir)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert {line["logger"] for line in found} == {"fc_pipeline.feed.writer"}
    assert all(line["shard"] in (1, 2) and line["events"] >= 0 for line in found)
    for file in logs.glob("*.log"):
        assert not [line for line in file.read_text().splitlines() if OURS.match(line)], file
    servers_logs = [server.log_file for server in servers]
    before = {file: file.stat().st_size for file in servers_logs if file.stat().st_size}
    assert {file.name for file in before} >= {"postgres.log", "redis.log"}
    assert set(keep_small(logs, max_bytes=0)) >= set(before)
    for file, size in before.items():
        assert file.with_suffix(".log.1").stat().st_size >= size
        assert file.stat().st_size < size  # an appending writer leaves no hole where it goes on


def _written(pid: int) -> set[Path]:
    """The files that a process appends its stdout and stderr to."""
    found: set[Path] = set()
    for number in (1, 2):
        try:
            target = Path(os.readlink(f"/proc/{pid}/fd/{number}"))
            flags = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if target.is_file():
            assert psutil.pid_exists(pid)
            assert int(re.findall(r"flags:\s+(\d+)", flags)[0], 8) & os.O_APPEND, target
            found.add(target)
    return found


def _lines_of_runs(data_dir: Path) -> list[dict[str, Any]]:  # noqa: F811
    """The lines of micro-batches in what runs wrote to stderr."""
    lines = [line for file in data_dir.rglob("*.err") for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines if '"event": "micro_batch"' in line]
