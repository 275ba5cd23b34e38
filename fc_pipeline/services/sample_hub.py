"""The sample hub as a service: where no hub is configured, `fc-pipeline sample-hub` in a process of its own."""

import json
import logging
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Final

import fc_pipeline
from fc_pipeline.config.validators import ValidatorSets
from fc_pipeline.errors import ServiceError
from fc_pipeline.services.children import inherited_environment
from fc_pipeline.services.lifetime import EmbeddedServer
from fc_pipeline.services.local_http import local_answer
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.processes import alive_in, listens_on

__all__ = ["LIVE_EVENTS_PER_SECOND", "PREFERRED_PORT", "SampleHubServer"]

PREFERRED_PORT: Final = 3381
"""A Snapchain hub's own HTTP port."""
PREFERRED_GRPC_PORT: Final = 3383
"""And its own for gRPC."""
LIVE_EVENTS_PER_SECOND: Final = 6.0
_log = logging.getLogger(__name__)


class SampleHubServer(EmbeddedServer):
    """One sample hub per data folder: the committed sample, then live events without end, kept across restarts."""

    name: ClassVar[str] = "sample_hub"
    # It reads its log and what it recorded of its earlier live events.
    start_seconds: ClassVar[float] = 60.0
    stop_signals: ClassVar = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))

    def __init__(self, data_dir: Path, log_path: Path, live_rate: float = LIVE_EVENTS_PER_SECOND) -> None:
        super().__init__(data_dir)
        self.log_path = log_path
        self.live_rate = live_rate
        self.work_dir = self.data_dir / "sample_hub"
        self._wanted_port = PREFERRED_PORT
        self.state_file = self.run_dir / "sample_hub.json"

    def acquire(self) -> str:
        """As every server's; takes another port where the preferred one was taken between the look and the start."""
        try:
            return super().acquire()
        except ServiceError:
            if self._wanted_port == 0:
                raise
            self._wanted_port = 0
            return super().acquire()

    def running_pid(self) -> int | None:
        """The hub's process id: the one that was written down, if that process works in our folder."""
        pid = self._state().get("pid")
        return pid if pid is not None and alive_in(pid, self.work_dir, "") else None

    def url(self) -> str:
        """The hub's base URL."""
        return f"http://127.0.0.1:{self._state()['port']}"

    def grpc_url(self) -> str | None:
        """Where the hub answers about its trie and headers; None where grpcio is not installed."""
        port = self._state().get("grpc_port")
        return None if port is None else f"http://127.0.0.1:{port}"

    def validators(self) -> ValidatorSets:
        """Whose signatures its headers have."""
        from fc_pipeline.sample_hub.chain import Chain  # what few commands need is not loaded for all

        return ValidatorSets.parse(Chain.public_key.hex())

    def _state(self) -> dict[str, int]:
        try:
            return json.loads(self.state_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):  # ValueError: cut off by a kill
            return {}

    def _launch(self) -> subprocess.Popen[bytes]:
        if not self.log_path.is_file():
            raise ServiceError(
                f"no hub is configured and the sample log {self.log_path} is missing",
                hint="set FC_HUB_URLS, or restore the file with git",
            )
        self.work_dir.mkdir(parents=True, exist_ok=True)
        port = free_port(self._wanted_port)
        if port != PREFERRED_PORT:
            _log.warning("port %s is taken: the sample hub listens on %s", PREFERRED_PORT, port)
        grpc_port = free_port(PREFERRED_GRPC_PORT) if find_spec("grpc") is not None else None
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "fc_pipeline.cli", "sample-hub", "--log", self.log_path),
                    *("--host", "127.0.0.1", "--port", str(port), "--live", str(self.live_rate), "--endless"),
                    *("--record", self.work_dir / "live.ndjson"),
                    *(() if grpc_port is None else ("--grpc-port", str(grpc_port))),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(),
                cwd=self.work_dir,
            )
        state = {"pid": process.pid, "port": port} | ({} if grpc_port is None else {"grpc_port": grpc_port})
        self.state_file.write_text(json.dumps(state), encoding="ascii")
        return process

    def _listens(self) -> bool:
        state = self._state()
        return bool(state) and listens_on(state["pid"], state["port"])

    def _not_ready(self) -> str | None:
        if not self._listens():  # its answers could be those of another process on that port
            return "it does not listen"
        try:
            status, _ = local_answer(self._state()["port"], "/v1/info", timeout_seconds=5.0)
        except OSError as error:
            return str(error)
        return None if status == 200 else f"it answers {status}"


def _environment() -> dict[str, str]:
    """Without the settings, which hold secrets that the sample hub has no use for; able to import this package."""
    kept = {name: value for name, value in inherited_environment().items() if not name.startswith(("FC_", "DAGSTER_"))}
    package_parent = str(Path(fc_pipeline.__file__).resolve().parent.parent)
    search_path = [package_parent, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(search_path)}
