"""Dagster's own processes for `fc-pipeline up`: code server, webserver and daemon.

The daemon and the webserver share one code server over gRPC: on its own, a daemon starts a new one every minute, which
costs CPU and loses a sensor's caches.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.orchestration.instance import instances
from fc_pipeline.orchestration.servers.code_server import SOCKET_NAME
from fc_pipeline.services.children import Child, end_marked, start_child
from fc_pipeline.services.local_http import local_answer
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.private_dirs import private_dir, remove_private_dir
from fc_pipeline.services.restarts import Restarts

__all__ = ["END_SECONDS", "PREFERRED_UI_PORT", "DagsterProcesses"]

_log = logging.getLogger(__name__)

PREFERRED_UI_PORT: Final = 3000
END_SECONDS: Final = 15.0
"""How long a run may take to commit its last micro-batch and end, and its code server after it."""
READY_SECONDS: Final = 180.0
"""How long Dagster may take until its UI answers, our definitions are loaded and its daemons beat."""

_STATE_QUERY: Final = """
query {
  workspaceOrError {
    __typename
    ... on Workspace {
      locationEntries { name loadStatus locationOrLoadError { __typename ... on PythonError { message } } }
    }
    ... on PythonError { message }
  }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""


class DagsterProcesses:
    """The three processes, started by `start` and ended by `fc_pipeline.services.children.end_marked`.

    `settings` have every URL filled in.
    """

    location: ClassVar[str] = "fc_pipeline"

    def __init__(self, root: Path, settings: Settings, *, ui_port: int | None = None) -> None:
        self.root = root
        self.settings = settings
        self.data_dir = settings.data_dir.absolute()
        self.instance = instances.new_instance(self.data_dir)
        self.ui_port = free_port(PREFERRED_UI_PORT if ui_port is None else ui_port)
        self.children: list[Child] = []
        self._commands: dict[str, Sequence[str]] = {}
        self._restarts = Restarts()
        self._present = ExitStack()

    @property
    def ui_url(self) -> str:
        """The URL of the Dagster UI."""
        return f"http://127.0.0.1:{self.ui_port}"

    def start(self, on_step: Callable[[str], None]) -> None:
        """Start all three and return when the UI answers, the definitions are loaded and the daemons beat.

        Args:
            on_step: called with what is being waited for.

        Raises:
            ServiceError: one of them ended, the definitions do not load, or it took longer than READY_SECONDS.
        """
        on_step("Dagster's code server")
        # A client of the code server can run any code: with TCP, every user of this machine could.
        socket = private_dir(self.data_dir, "dagster", SOCKET_NAME, os.geteuid()) / SOCKET_NAME
        socket.unlink(missing_ok=True)
        code_server = ("fc_pipeline.orchestration.servers.code_server", "-m", "fc_pipeline.definitions")
        self._child("code_server", *code_server, "-s", str(socket), "-d", str(self.root))
        workspace = self._write_workspace(socket)
        # While the code server loads; imported here, since importing Dagster takes seconds.
        from dagster import DagsterInstance

        from fc_pipeline.orchestration.instance.ending_runs import fail_predecessors_runs

        with DagsterInstance.from_config(str(self.root)) as instance:
            self._present.enter_context(instances.present(self.settings, self.instance))
            fail_predecessors_runs(instance, self.settings, self.instance, socket)
        self._wait_for_code_server(socket)
        on_step("Dagster's webserver and daemon")
        self._child("webserver", "dagster_webserver", "-h", "127.0.0.1", "-p", str(self.ui_port), "-w", str(workspace))
        self._child("daemon", "fc_pipeline.orchestration.servers.daemon", "-w", str(workspace))
        self._wait_for_state(on_step)

    def check(self) -> None:
        """Raises ServiceError, with the end of its log, if one of them has ended."""
        for child in self.children:
            code = child.ended()
            if code is not None:
                raise ServiceError(
                    f"Dagster's {child.name} ended (exit code {code}):\n{child.last_log_lines()}",
                    hint=f"see {child.log_file}",
                )

    def revive(self) -> None:
        """Restart what has ended, and log it; the sensors find the work it left.

        Raises:
            ServiceError: one of them has ended too often, with the end of its log.
        """
        for child in [child for child in self.children if child.ended() is not None]:
            if not self._restarts.may(child.name):
                self.check()
            code = child.ended()
            _log.warning(
                "process_restarted name=%s exit_code=%s log=%s: it had ended", child.name, code, child.log_file
            )
            self.children.remove(child)
            if child.name == "code_server":
                self._end_orphaned_runs()
            self._child(child.name, *self._commands[child.name])

    def _end_orphaned_runs(self) -> None:
        """Runs whose code server is gone end by themselves; those that do not are ended and marked as failed."""
        from dagster import DagsterInstance

        from fc_pipeline.orchestration.instance.ending_runs import fail_runs_of, is_run_worker

        end_marked(self.data_dir, patience_seconds=END_SECONDS, only=is_run_worker)
        with DagsterInstance.from_config(str(self.root)) as instance:
            fail_runs_of(instance, self.instance)

    @property
    def name(self) -> str:
        """This `up`'s name for the others on this Postgres."""
        return instances.name_of(self.instance)

    def leader(self) -> str | None:
        """The name of the `up` that leads on this Postgres, or None while none does."""
        return instances.leader(self.settings)

    def living(self) -> set[str]:
        """The names of the living instances on this Postgres."""
        return instances.living_names(self.settings)

    def leave(self) -> None:
        """Be listed as living no more; call it when all the processes are gone."""
        self._present.close()
        remove_private_dir(self.data_dir, "dagster")

    def end_runs(self) -> None:
        """End the daemon, which launches runs, and the code server, which ends those at work; waits for both."""
        children = [child for child in self.children if child.name in ("daemon", "code_server")]
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.warning("process_slow_to_end name=%s seconds=%.0f after=SIGTERM", child.name, END_SECONDS)

    def _child(self, name: str, module: str, *arguments: str) -> None:
        environment = {"DAGSTER_HOME": str(self.root), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
        environment[instances.INSTANCE_VARIABLE] = self.instance
        if self.settings.log_format == "json":  # Dagster's own lines, too
            arguments = (*arguments, "--log-format", "json")
        command = [sys.executable, "-m", module, *arguments]
        self._commands[name] = (module, *arguments)
        self.children.append(start_child(name, command, data_dir=self.data_dir, cwd=self.root, environment=environment))

    def _write_workspace(self, socket: Path) -> Path:
        workspace = self.data_dir / "run" / "workspace.yaml"
        server = {"host": "localhost", "socket": str(socket), "location_name": self.location}
        workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")  # JSON is YAML
        return workspace

    def _wait_for_code_server(self, socket: Path) -> None:
        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            check: Any = health_pb2_grpc.HealthStub(channel).Check  # pyright: ignore[reportAttributeAccessIssue]
            for _ in self._while_starting("the code server does not answer"):
                with suppress(grpc.RpcError):  # not listening yet
                    if check(request, timeout=10).status == health_pb2.HealthCheckResponse.SERVING:
                        return

    def _wait_for_state(self, on_step: Callable[[str], None]) -> None:
        for _ in self._while_starting("the webserver does not answer, or its daemon does not beat"):
            try:
                status, body = local_answer(self.ui_port, "/graphql", {"query": _STATE_QUERY}, timeout_seconds=30.0)
            except OSError:  # not listening yet
                continue
            if status == 200:
                waiting_for = _not_ready(json.loads(body)["data"])
                if waiting_for is None:
                    return
                on_step(waiting_for)

    def _while_starting(self, problem: str) -> Iterator[None]:
        """Polling rounds; raises ServiceError when the time is up."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self.check()
            yield
            time.sleep(0.2)
        raise ServiceError(f"Dagster took too long to start: {problem}", hint=f"see {self.data_dir / 'logs'}")


def _not_ready(state: dict[str, Any]) -> str | None:
    """What is not ready yet, or None.

    Raises:
        ServiceError: the definitions cannot be loaded.
    """
    workspace = state["workspaceOrError"]
    if workspace["__typename"] == "PythonError":
        raise ServiceError(f"Dagster cannot load its workspace: {workspace['message']}")
    for entry in workspace["locationEntries"]:
        loaded = entry["locationOrLoadError"] or {"__typename": None}
        if loaded["__typename"] == "PythonError":
            raise ServiceError(f"Dagster cannot load {entry['name']}: {loaded['message']}")
        if entry["loadStatus"] != "LOADED":
            return f"the code location {entry['name']}"
    late = [
        status["daemonType"]
        for status in state["instance"]["daemonHealth"]["allDaemonStatuses"]
        if status["required"] and not status["healthy"]
    ]
    return f"Dagster's daemon ({', '.join(sorted(late)).lower()})" if late else None
