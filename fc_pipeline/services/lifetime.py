"""How long an embedded server lives: from its first user to its last.

Users hold a shared lock on a file, starting and stopping an exclusive one on another. The kernel drops a lock with its
process, so that kill -9 of a user never leaves a server counted as used, and a server whose users were all killed is
adopted by the next one. No pid file has to be believed.
"""

import fcntl
import logging
import os
import secrets
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from fc_pipeline.errors import ServiceError
from fc_pipeline.services.children import tail
from fc_pipeline.services.log_files import keep_small
from fc_pipeline.services.private_dirs import private_dir, remove_private_dir

__all__ = ["EmbeddedServer", "exclusively"]

_log = logging.getLogger(__name__)


@contextmanager
def exclusively(lock_file: Path) -> Generator[None]:
    """Wait until no other process is in this block for the same file."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class EmbeddedServer(ABC):
    """A server of ours under the data folder, shared by every process of the project on this machine."""

    name: ClassVar[str]
    """As in messages, and in the names of files."""
    start_seconds: ClassVar[float]
    """How long a start may take."""
    stop_signals: ClassVar[Sequence[tuple[signal.Signals, float]]]
    """The signals that stop it, gentlest first, each with the seconds to wait for it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.run_dir = self.data_dir / "run"
        self.log_file = self.data_dir / "logs" / f"{self.name}.log"
        self.password_file = self.data_dir / f"{self.name}.password"
        self.started_here = False
        """Whether this object's `acquire` started the server, rather than found it running."""
        self._users: int | None = None
        self._process: subprocess.Popen[bytes] | None = None  # kept so that it is reaped

    @abstractmethod
    def running_pid(self) -> int | None:
        """The process id of the server, or None where it does not run."""

    @abstractmethod
    def url(self) -> str:
        """The URL of the running server, with its password."""

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Start the server's process, in a session of its own: Ctrl-C must not stop it beside its users."""

    @abstractmethod
    def _not_ready(self) -> str | None:
        """Why the server does not serve yet, or None where it does."""

    def _prepare(self) -> None:  # noqa: B027 - most need nothing
        """Called when it serves, before its users come."""

    def acquire(self) -> str:
        """Use the server: find it running or start it.

        Returns:
            Its URL.

        Raises:
            ServiceError: it could not be started.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with exclusively(self._start_lock):
            keep_small(self.log_file.parent)
            self.started_here = self.running_pid() is None
            if self.started_here:
                self._process = self._launch()
            try:
                self._wait_until_ready()  # also where it was found: who started it may have been killed right then
                self._prepare()
                if self._users is None:
                    self._users = os.open(self.run_dir / f"{self.name}.users.lock", os.O_RDWR | os.O_CREAT, 0o600)
                    fcntl.flock(self._users, fcntl.LOCK_SH)
            except BaseException:
                # Also on Ctrl-C: no process uses it yet, so no other one would stop it.
                if self.started_here and self._process is not None:
                    self._abandon(self._process)
                raise
        return self.url()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while (problem := self._not_ready()) is not None:
            if not self.started_here and not self.running_pid():
                # It was found, but was about to end: whoever used it last has just stopped it.
                self.started_here = True
                self._process = self._launch()
            # Of an earlier start there may be a process, too, which ended long ago.
            ended = self.started_here and self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = "ended at its start" if ended else f"does not serve after {self.start_seconds:.0f} s: {problem}"
                raise ServiceError(
                    f"the embedded {self.name} {what}:\n{self.last_log_lines()}", hint=f"see {self.log_file}"
                )
            time.sleep(0.02)

    def _abandon(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(self.stop_signals[0][0])
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def release(self) -> bool:
        """Stop using the server, and stop it if no other process uses it.

        Returns:
            Whether the server is stopped now.
        """
        if self._users is None:
            return self.running_pid() is None
        with exclusively(self._start_lock):
            try:
                # Trades the shared lock for the exclusive one: granted only to the last user.
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                last = True
            except BlockingIOError:
                last = False
            try:
                pid = self.running_pid()
                if last and pid is not None:
                    self._stop(pid)
                if last:
                    remove_private_dir(self.data_dir, self.name)
                return last
            finally:
                os.close(self._users)
                self._users = None

    @property
    def _start_lock(self) -> Path:
        return self.run_dir / f"{self.name}.start.lock"

    def _private_dir(self, uid: int, socket_name: str) -> Path:
        return private_dir(self.data_dir, self.name, socket_name, uid)

    def _password(self) -> str:
        """The server's random password, made at first need and kept in a file of mode 0600."""
        if not self.password_file.is_file():
            descriptor, path = tempfile.mkstemp(prefix=f"{self.name}.password-", dir=self.data_dir)  # mode 0600
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(24))
            Path(path).replace(self.password_file)
        return self.password_file.read_text(encoding="ascii")

    def _stop(self, pid: int) -> None:
        for number, patience_seconds in self.stop_signals:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + patience_seconds
            while time.monotonic() < deadline:
                # Not waitpid: another live process may be its parent, and a zombie counts as ended.
                if self.running_pid() != pid:
                    return
                time.sleep(0.02)
            _log.warning(
                "process_slow_to_end name=%s pid=%s seconds=%.0f after=%s",
                self.name,
                pid,
                patience_seconds,
                number.name,
            )
        raise ServiceError(f"the embedded {self.name} (pid {pid}) does not stop", hint=f"see {self.log_file}")

    def last_log_lines(self, count: int = 8) -> str:
        """The end of the server's log, for a message."""
        return tail(self.log_file, count)
