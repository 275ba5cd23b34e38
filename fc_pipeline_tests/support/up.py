"""`fc-pipeline up` as a process, and what is left of it afterwards."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.services import embedded_servers
from fc_pipeline.services.children import MARK, end_marked

UP_SECONDS = 240.0
"""Until a start counts as hung; it takes about 15 s on two idle cores."""


class Up:
    """One `fc-pipeline up` in a process of its own."""

    def __init__(self, data_dir: Path, port: int, *, cwd: Path | None = None, **variables: str) -> None:
        self.data_dir = data_dir
        self.ui_url = f"http://127.0.0.1:{port}"
        self.output = data_dir.parent / "up.out"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fc_pipeline.cli", "up", "--port", str(port)],
                env={**environment(data_dir), **variables},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + UP_SECONDS
        while "fc-pipeline is up" not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.2)


def environment(data_dir: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}
    return {**kept, "FC_DATA_DIR": str(data_dir)}


def marked(data_dir: Path) -> dict[int, list[str]]:
    """Process ids and command lines of what an `up` of this data folder started."""
    found: dict[int, list[str]] = {}
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == str(data_dir):
                found[process.pid] = process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder of its own; whatever still runs on it is stopped at the end."""
    data_dir = tmp_path / "data"
    yield data_dir
    stop_all(data_dir)


def stop_all(data_dir: Path) -> None:
    """End whatever still runs on the data folder: an `up` first, which would start its servers again."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("FC_DATA_DIR") == str(data_dir) and "fc_pipeline.cli" in process.cmdline():
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    end_marked(data_dir, patience_seconds=5)
    for server in embedded_servers(Settings(data_dir=data_dir, lake_uri="unused")):
        if server.running_pid() is not None:
            server.acquire()
            server.release()


def running_servers(data_dir: Path) -> set[str]:
    servers = embedded_servers(Settings(data_dir=data_dir, lake_uri="unused"))
    return {server.name for server in servers if server.running_pid() is not None}
