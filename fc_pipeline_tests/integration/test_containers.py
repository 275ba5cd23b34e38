"""The containers of deploy/compose.yaml as processes: their commands, their variables, a root that is read-only.

The code server's container is killed, and begun anew; a run is terminated in the UI, which is another container.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from dagster import DagsterRun, DagsterRunStatus, RunsFilter

from fc_pipeline.orchestration.assets.hourly import FOLLOW_TAG
from fc_pipeline.orchestration.instance.instances import INSTANCE_TAG, INSTANCE_VARIABLE
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.deployed import DEPLOY, image_variables, read_yaml
from fc_pipeline_tests.support.machines import container, require_containers
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database

TIMEOUT_SECONDS = 180.0
COMPOSE: dict[str, Any] = read_yaml("compose.yaml")
TERMINATE = (
    """mutation($run: String!) { terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } } }"""
)
LOCATIONS = """query { workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"""

pytestmark = pytest.mark.slow


@dataclass
class Host:
    """The machine that the containers run on.

    They write to `folder` alone; `project` is that of the image. Ports are those that are free.
    """

    folder: Path
    project: Path
    pipeline: Pipeline
    given: dict[str, str]
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in ("4000", "3000")})
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    def prepare(self) -> None:
        """The image's project folder, the volume, and the workspace that compose writes."""
        for folder in (self.folder / "data", self.folder / "tmp", self.project):
            folder.mkdir(parents=True, exist_ok=True)
        (self.project / "dagster.yaml").write_bytes((DEPLOY / "dagster.yaml").read_bytes())
        text: str = COMPOSE["configs"]["workspace"]["content"]
        text = text.replace("host: code-server", "host: 127.0.0.1").replace("4000", str(self.ports["4000"]))
        (self.project / "workspace.yaml").write_text(text, encoding="utf-8")

    def start(self, name: str) -> None:
        service = COMPOSE["services"][name]
        workspace = self.project / "workspace.yaml"
        here = {"0.0.0.0": "127.0.0.1", "/etc/fc_pipeline/workspace.yaml": str(workspace)}  # noqa: S104
        here |= {port: str(free) for port, free in self.ports.items()}
        program, *words = service["command"]
        binary = Path(sys.executable) if program == "python" else Path(sys.prefix) / "bin" / program
        command = [binary, *(here.get(word, word) for word in words)]
        volumes = {"/var/lib/fc_pipeline": self.folder / "data", "/tmp": self.folder / "tmp"}  # noqa: S108
        places = {name: str(folder) for name, folder in {**volumes, "/opt/fc_pipeline": self.project}.items()}
        of_image = {**image_variables(), "TMPDIR": "/tmp"}  # noqa: S108
        inside = {name: places.get(value, value) for name, value in of_image.items()}
        fixed = {key: value for key, value in service["environment"].items() if "${" not in value}
        environment = {**inside, **fixed, **self.given, "PATH": os.environ["PATH"]}
        with (self.folder / f"{name}.log").open("ab") as out:
            self.running[name] = subprocess.Popen(
                container(service["hostname"], self.folder, *command),
                env=environment,
                cwd=self.project,
                stdout=out,
                stderr=out,
                process_group=0,
            )

    def kill(self, name: str) -> None:
        """As a container ends that has no memory left: with all of its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self.running[name].pid, signal.SIGKILL)
        self.running.pop(name).wait()

    def ask(self, query: str, **values: str) -> Any:
        """The UI's answer; None while it does not listen."""
        asked = {"query": query, "variables": values}
        try:
            return httpx.post(f"http://127.0.0.1:{self.ports['3000']}/graphql", json=asked, timeout=60).json()["data"]
        except httpx.TransportError:
            return None

    def until(self, look: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (found := look()):
            ended = [name for name, process in self.running.items() if process.poll() is not None]
            assert not ended, f"{ended} ended\n{self.said()}"
            assert time.monotonic() < deadline, f"{what}\n{self.said()}"
            time.sleep(0.2)
        return found

    def said(self) -> str:
        return "\n".join(f"--- {file.stem}\n{file.read_text()[-3000:]}" for file in self.folder.glob("*.log"))

    def follower(self) -> DagsterRun | None:
        """The run that writes, if it is the daemon's."""
        rows = self.pipeline.bench.rows("SELECT run_id FROM pipeline.coverage ORDER BY committed_at DESC LIMIT 1")
        wanted = RunsFilter(statuses=[DagsterRunStatus.STARTED], tags={FOLLOW_TAG: "true"})
        found = [run for run in self.pipeline.instance.get_runs(wanted) if rows and run.run_id == rows[0].run_id]
        return found[0] if found else None

    def status(self, run: DagsterRun) -> DagsterRunStatus:
        found = self.pipeline.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status


@pytest.fixture
def host(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Host]:
    require_containers()
    now = int(time.time())
    hub = log_from_lines(generate(13, fids=50, events=200, events_per_second=20.0, start_unix=now - 12))
    lake = tmp_path / "box" / "data" / "lake"
    with (
        serving(hub, growth=Endless(hub, events_per_second=20.0, start_unix=now)) as hub_url,
        open_pipeline(database, tmp_path / "looking", hub_url, FC_LAKE_URI=str(lake)) as pipeline,
    ):
        given = {"FC_POSTGRES_URL": database.url, "FC_REDIS_URL": redis_url, "FC_HUB_URLS": hub_url}
        host = Host(tmp_path / "box", tmp_path / "project", pipeline, given)
        host.prepare()
        yield host
        for name in list(host.running):
            host.kill(name)


def test_runs_outlive_no_container_and_their_work_goes_on(host: Host) -> None:
    host.start("code-server")
    host.start("webserver")
    host.start("daemon")

    def is_loaded() -> bool:
        said = host.ask(LOCATIONS)
        return said is not None and said["workspaceOrError"]["locationEntries"] == [
            {"name": "fc_pipeline", "loadStatus": "LOADED"}
        ]

    host.until(is_loaded, "the UI does not find the code server")
    first = host.until(host.follower, "nobody follows")
    assert first.tags[INSTANCE_TAG] == COMPOSE["services"]["daemon"]["environment"][INSTANCE_VARIABLE]

    host.kill("code-server")
    host.start("code-server")
    host.until(lambda: host.status(first) == DagsterRunStatus.FAILURE, "the run of the killed server is not given up")
    second = host.until(host.follower, "nobody follows after the kill")

    assert host.ask(TERMINATE, run=second.run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    host.until(lambda: host.status(second) == DagsterRunStatus.CANCELED, "it is not terminated")
    third = host.until(host.follower, "nobody follows after the termination")

    host.running["code-server"].send_signal(signal.SIGTERM)
    host.running.pop("code-server").wait(TIMEOUT_SECONDS)
    assert host.status(third) == DagsterRunStatus.SUCCESS  # a sensor's run just ends
    shards = len({shard for shard, _, _ in host.pipeline.bench.ledger()})
    assert len(host.pipeline.bench.ledger()) == shards == 2  # one range each: no hole
