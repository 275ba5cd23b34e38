"""`run/up.json` in the data folder: which `up` runs here, what it has started, and why it ended where it failed.

`up` alone writes it; another `up`, and the watcher of alerts, read it. It stays where `up` is killed.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import psutil

from fc_pipeline.services.processes import GONE

__all__ = ["UpRecord", "UpState", "is_running", "read_up_state"]

RESTARTS_KEPT_SECONDS: Final = 600.0


class UpState(msgspec.Struct, frozen=True):
    """An `up`: its process and when that was started (unix seconds), its UI, and the processes it has started.

    `restarts_unix` has, by their names, when those of the last ten minutes were started again. `failure` is why it
    ended.
    """

    pid: int
    started_unix: float
    ui: str
    children: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    restarts_unix: dict[str, list[float]] = msgspec.field(default_factory=dict[str, list[float]])
    failure: str = ""

    def is_alive(self) -> bool:
        """Whether it still runs; its number may be another process' by now."""
        try:
            process = psutil.Process(self.pid)
            return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - self.started_unix) < 1
        except GONE:
            return False


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def read_up_state(data_dir: Path) -> UpState | None:
    """What the newest `up` has written; None where none has, or where an earlier release did."""
    try:
        return msgspec.json.decode(_file(data_dir).read_bytes(), type=UpState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


class UpRecord:
    """The file, kept by the `up` of this process."""

    def __init__(self, data_dir: Path, ui: str) -> None:
        self._file = _file(data_dir)
        self._state = UpState(os.getpid(), psutil.Process().create_time(), ui)

    def note(self, children: Mapping[str, int | None]) -> None:
        """Write which processes run, if that has changed; one with another number than before was started again."""
        running = {name: pid for name, pid in children.items() if pid is not None}
        known = self._state.children
        restarts = {name: _lately(times) for name, times in self._state.restarts_unix.items() if _lately(times)}
        for name, pid in running.items():
            if known.get(name, pid) != pid:
                restarts[name] = [*restarts.get(name, []), time.time()]
        # One that has ended stays with the number that it had.
        self._write(msgspec.structs.replace(self._state, children={**known, **running}, restarts_unix=restarts))

    def fail(self, reason: str) -> None:
        """Write why `up` ends, where it was not asked to."""
        self._write(msgspec.structs.replace(self._state, failure=reason))

    @property
    def is_of_failure(self) -> bool:
        """Whether it says why `up` ends."""
        return bool(self._state.failure)

    def remove(self) -> None:
        """There is no `up` here any more."""
        self._file.unlink(missing_ok=True)

    def _write(self, state: UpState) -> None:
        if state == self._state and self._file.is_file():
            return
        self._state = state
        written = self._file.with_suffix(".json.new")
        written.write_bytes(msgspec.json.encode(state))
        written.replace(self._file)


def _file(data_dir: Path) -> Path:
    return data_dir / "run" / "up.json"


def _lately(times: list[float]) -> list[float]:
    return [at for at in times if time.time() - at < RESTARTS_KEPT_SECONDS]
