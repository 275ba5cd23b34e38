"""A Postgres of Debian's packages as initdb makes it: what an owner's own server is like."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from fc_pipeline.config.postgres_url import PostgresUrl

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda folder: int(folder.parent.name))
START_SECONDS = 60
UNSAFE = {"fsync": "off"}
"""Nobody pulls the plug on a test's data."""


@contextmanager
def stock_server(binaries: Path, settings: Mapping[str, str], *initdb_options: str) -> Generator["StockServer"]:
    """A server that runs until the block ends, on a Unix socket, with its own defaults but for these settings.

    Needs the packages' user where root calls it, which they make.
    """
    folder = Path(tempfile.mkdtemp(prefix="fc_stock_"))
    folder.chmod(0o711)  # its socket is for others, too
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    cluster, log = folder / "cluster", folder / "log"
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    common: dict[str, Any] = {"env": environment, "cwd": "/", "stdin": subprocess.DEVNULL, **as_user}
    options = ["--pgdata", cluster, "--username", "postgres", "--auth", "trust", "--no-sync", *initdb_options]
    subprocess.run([binaries / "initdb", *options], check=True, capture_output=True, **common)
    flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
    with log.open("ab") as out:
        command = [binaries / "postgres", "-D", cluster, "-k", folder, "-h", "", *flags]
        process = subprocess.Popen(command, stdout=out, stderr=out, **common)
    server = StockServer(folder, log)
    try:
        server.wait(process)
        yield server
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


class StockServer:
    """Where it is, and what it has logged."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        self.log = log

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return PostgresUrl({"user": user, "host": str(self._folder), "port": "5432", "dbname": database}).for_libpq()

    def wait(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg2.connect(self.url()).close()
            except psycopg2.OperationalError:
                assert process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return
