"""What every benchmark runs on: an embedded Postgres as `up` starts it, and a sample hub in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil
import sqlalchemy as sa
from psycopg2.extensions import parse_dsn

from fc_pipeline.config.settings import Settings
from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres
from fc_pipeline_tests.support.postgres import PARTITIONS

__all__ = ["BenchmarkServers", "hub_process", "open_stage", "peak_rss_bytes", "rss_bytes"]

_numbers = count(1)


@dataclass(frozen=True)
class BenchmarkServers:
    """A folder for one session of benchmarks, with its server."""

    folder: Path
    postgres: EmbeddedPostgres

    def settings(self, hub_url: str | None = None, **values: object) -> Settings:
        """Settings with a new, empty database and lake."""
        name = f"bench_{next(_numbers)}"
        base = Settings(data_dir=self.folder, lake_uri="unused", postgres_url=self.postgres.url())
        admin = sa.create_engine(base.sqlalchemy_url("postgres"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
        admin.dispose()
        hubs = (hub_url,) if hub_url else ()
        values = {"pg_partitions": PARTITIONS, **values}
        return Settings(
            data_dir=self.folder,
            lake_uri=str(self.folder / f"lake_{name}"),
            postgres_url=base.libpq_url(name),
            hub_urls=hubs,
            **values,  # pyright: ignore[reportArgumentType]
        )

    def restart_cold(self, settings: Settings) -> Settings:
        """Start the server again with nothing of its files in the machine's memory; gives the settings of now."""
        name = parse_dsn(settings.libpq_url())["dbname"]
        self.postgres.release()
        for path in self.postgres.cluster_dir.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
        now = settings.model_copy(update={"postgres_url": self.postgres.acquire()})
        return now.model_copy(update={"postgres_url": now.libpq_url(name)})

    def postgres_cpu_seconds(self) -> float:
        """The CPU that the server and all its sessions have taken, those that are over as well."""
        pid = self.postgres.running_pid()
        assert pid is not None
        server = psutil.Process(pid)
        over = server.cpu_times()
        sessions = [session.cpu_times() for session in server.children()]
        return over.children_user + over.children_system + sum(one.user + one.system for one in (over, *sessions))


@contextmanager
def open_stage(folder: Path, tuning: Mapping[str, str] = TUNING) -> Generator[BenchmarkServers]:
    """The server of `up`, with its own settings (fsync on), on an empty data folder."""
    server = EmbeddedPostgres(folder, tuning)
    server.acquire()
    try:
        yield BenchmarkServers(folder, server)
    finally:
        server.release()


@contextmanager
def hub_process(*options: str) -> Generator[str]:
    """A sample hub with these options of `fc-pipeline sample-hub`; gives its URL."""
    command = [sys.executable, "-m", "fc_pipeline.cli", "sample-hub", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield line.split(": ", 1)[1].split(" ", 1)[0]
    finally:
        process.terminate()
        process.wait()


def rss_bytes() -> int:
    """Resident memory of this process now."""
    return psutil.Process().memory_info().rss


def peak_rss_bytes() -> int:
    """The highest resident memory that this process had."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the peak")
