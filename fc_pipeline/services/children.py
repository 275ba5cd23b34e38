"""The processes that `fc-pipeline up` starts and owns, and the certainty that none of them outlives it.

Each carries a mark in its environment, which its own children inherit: Dagster's run workers are found and stopped too,
also those of an `up` that was killed and could stop nothing itself.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from fc_pipeline.errors import ServiceError
from fc_pipeline.services.log_files import keep_small
from fc_pipeline.services.processes import GONE, name_of, with_variable

__all__ = ["KILL_SECONDS", "MARK", "Child", "end_marked", "inherited_environment", "start_child", "tail"]

MARK: Final = "FC_PIPELINE_UP"
"""Environment variable of every process of an `up`: its data folder."""

KILL_SECONDS: Final = 10.0
"""How long a process may take to be gone after SIGKILL."""

_NO_CACHE: Final = "PYTHONDONTWRITEBYTECODE"
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Child:
    """A process that `up` started, and where it logs."""

    name: str
    log_file: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self.process.poll()

    def last_log_lines(self, count: int = 15) -> str:
        """The end of its log, for a message."""
        return tail(self.log_file, count)


def start_child(
    name: str, command: Sequence[str | Path], *, data_dir: Path, cwd: Path, environment: Mapping[str, str]
) -> Child:
    """Start a process with the mark, in a session of its own, logging to `logs/NAME.log` under the data folder."""
    log_file = data_dir / "logs" / f"{name}.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    keep_small(log_file.parent)
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env={**inherited_environment(), **environment, MARK: str(data_dir)},
            start_new_session=True,  # Ctrl-C reaches `up` alone, which stops them in order
        )
    return Child(name, log_file, process)


def inherited_environment() -> dict[str, str]:
    """Our own, but for the wish to keep no compiled modules: each process would compile thousands of them again."""
    return {name: value for name, value in os.environ.items() if name != _NO_CACHE}


def end_marked(
    data_dir: Path, *, patience_seconds: float, only: Callable[[psutil.Process], bool] = lambda process: True
) -> int:
    """End every process that carries the mark of this data folder: SIGTERM, then SIGKILL after the grace period.

    With `only`, those of them that it says yes to.

    Returns:
        How many there were.

    Raises:
        ServiceError: some would not end even so.
    """
    seen: set[int] = set()
    for number, seconds in ((signal.SIGTERM, patience_seconds), (signal.SIGKILL, KILL_SECONDS)):
        signalled: set[int] = set()
        deadline = time.monotonic() + seconds
        while True:
            # Looked up again each time: a process may have started another one before it got its signal.
            marked = list(_marked(str(data_dir), only))
            if not marked:
                return len(seen)
            for process in marked:
                if process.pid not in signalled:
                    signalled.add(process.pid)
                    with suppress(*GONE):
                        process.send_signal(number)
            seen |= signalled
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
    names = ", ".join(f"{process.pid} ({name_of(process)})" for process in _marked(str(data_dir), only))
    raise ServiceError(f"these processes do not end: {names}")


def _marked(data_dir: str, only: Callable[[psutil.Process], bool]) -> Iterable[psutil.Process]:
    for process in with_variable(MARK, data_dir):
        with suppress(*GONE):
            if only(process):
                yield process


def tail(file: Path, count: int) -> str:
    """The last lines of a log file; empty where there is none."""
    if not file.is_file():
        return ""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - 16_384))
        text = log.read().decode("utf-8", "replace")
    return "\n".join(_COLOUR.sub("", text).splitlines()[-count:])
