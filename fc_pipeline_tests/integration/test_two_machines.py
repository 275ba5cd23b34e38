"""Runs as pods of Kubernetes on two machines, with one Postgres and a lake in S3; one machine is lost amid its work.

All but Kubernetes and its nodes is the real thing: the values for Dagster's chart, its launcher, daemon and code
server, and the command in the job that the launcher makes. Machines are network namespaces, pods processes in them.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus
from dagster_k8s.job import get_job_name_from_run_id

from fc_pipeline.orchestration.instance.storage import DAGSTER_DATABASE
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.acted_kubernetes import acted_kubernetes
from fc_pipeline_tests.support.deployed import manifests, read_yaml, run_launcher
from fc_pipeline_tests.support.machines import ADDRESS, Cluster, Machine, machines
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline, project_environment
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.postgres_link import Link, postgres_link
from fc_pipeline_tests.support.s3_server import BUCKET, KEY, SECRET, S3Server, s3_server
from fc_pipeline_tests.support.workbench import workbench

LOGS = "compute-logs"
HOURS = 3
EVENTS_PER_SECOND = 2.0  # one in each block
TIMEOUT_SECONDS = 300.0

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Scene:
    """A cluster, whose Dagster has just begun, and the replica that it makes, as a test looks at it."""

    cluster: Cluster
    pipeline: Pipeline
    log: list[bytes]
    hub_url: str
    s3: S3Server
    dagster_home: Path
    processes: dict[str, subprocess.Popen[bytes]]

    def writers(self) -> dict[str, int]:
        """How many heights each run has covered, by the name of its job."""
        rows = self.pipeline.bench.rows(
            "SELECT run_id, sum(to_height - from_height + 1) AS n FROM pipeline.coverage GROUP BY 1"
        )
        return {get_job_name_from_run_id(row.run_id): row.n for row in rows}

    def machines_that_wrote(self) -> set[str]:
        return {self.cluster.machine_of[name].namespace for name in self.writers()}

    def until(self, look: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (found := look()):
            assert time.monotonic() < deadline, f"{what}\n{self.said()}"
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} has ended\n{self.said()}"
            time.sleep(0.02)
        return found

    def said(self) -> str:
        """The ends of all logs."""
        logs = {file.stem: file.read_text() for file in self.dagster_home.glob("*.log")}
        logs |= {name: self.cluster.output(name) for name in self.cluster.machine_of}
        return "\n".join(f"--- {name}\n{text[-1500:]}" for name, text in logs.items())


def instance_file(database_url: str, s3: S3Server, launcher: dict[str, Any]) -> dict[str, Any]:
    """What the chart makes of the values, with this launcher, at these places; it looks at runs more often."""
    said = read_yaml("dagster.yaml")
    parts = urlsplit(database_url)
    assert parts.port is not None
    storage = {
        "username": unquote(parts.username or ""),
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": parts.hostname,
        "port": parts.port,
        "db_name": DAGSTER_DATABASE,
    }
    logs = {"bucket": BUCKET, "prefix": LOGS, "endpoint_url": s3.endpoint, "local_dir": {"env": "TMPDIR"}}
    of_s3 = {"module": "dagster_aws.s3.compute_log_manager", "class": "S3ComputeLogManager", "config": logs}
    monitoring = {**said["run_monitoring"], "poll_interval_seconds": 2}
    del said["local_artifact_storage"]
    return {
        **said,
        "storage": {"postgres": {"postgres_db": storage}},
        "run_launcher": launcher,
        "compute_logs": of_s3,
        "run_monitoring": monitoring,
    }


@contextmanager
def dagster(folder: Path, variables: dict[str, str]) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """A code server and a daemon, by the commands that the chart gives their pods."""
    port = str(free_port())
    server = {"host": "127.0.0.1", "port": int(port), "location_name": "fc_pipeline"}
    workspace = folder / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
    (code_server,) = read_yaml("helm/values.yaml")["dagster-user-deployments"]["deployments"]
    serve = ["dagster", "code-server", "start", "-h", "127.0.0.1", "-p", port, *code_server["codeServerArgs"]]
    image = f"{code_server['image']['repository']}:{code_server['image']['tag']}"
    commands = {"code_server": serve, "daemon": ["dagster-daemon", "run", "-w", str(workspace)]}
    started: dict[str, subprocess.Popen[bytes]] = {}
    environment = {**variables, "DAGSTER_HOME": str(folder), "DAGSTER_CURRENT_IMAGE": image}
    try:
        for name, (program, *arguments) in commands.items():
            with (folder / f"{name}.log").open("wb") as out:
                started[name] = subprocess.Popen(
                    [str(Path(sys.prefix) / "bin" / program), *arguments],
                    env=environment,
                    stdout=out,
                    stderr=out,
                    process_group=0,
                )
        yield dict(started)
    finally:
        for process in started.values():
            with suppress(ProcessLookupError):  # it has ended, and all that it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Given:
    """What pods are given by name: settings, secrets, and the password of Dagster's database."""

    settings: dict[str, str]
    secrets: dict[str, str]
    password: str

    def variables(self) -> dict[str, str]:
        of_a_pod = {"DAGSTER_PG_PASSWORD": self.password, "TMPDIR": tempfile.gettempdir()}
        return {**self.settings, **self.secrets, **of_a_pod}

    def as_seen_from_here(self) -> dict[str, str]:
        """Those of a process that has Postgres and the hub beside it."""
        return {
            name: value for name, value in self.variables().items() if name not in {"FC_POSTGRES_URL", "FC_HUB_URLS"}
        }


@contextmanager
def reached_from_elsewhere(database: Database, redis_url: str, hub_url: str, s3: S3Server) -> Iterator[Given]:
    """The servers of this machine under addresses that the others reach."""
    redis, hub = urlsplit(redis_url), urlsplit(hub_url)
    assert hub.port is not None
    with (
        Link(("127.0.0.1", hub.port), ADDRESS) as to_hub,
        Link(unquote(redis.path), ADDRESS) as to_redis,
        postgres_link(database.url, host=ADDRESS) as (_, postgres_url),
    ):
        (given,) = manifests()["settings.yaml"]
        settings = {
            **given["data"],
            "FC_HUB_URLS": f"http://{ADDRESS}:{to_hub.port}",
            "FC_HUB_GRPC": "",
            "FC_LAKE_URI": s3.uri("lake").replace(f"{KEY}:{SECRET}@", ""),
            "FC_BATCH_EVENTS": "100",  # so that there is an amid
        }
        secrets = {
            "FC_POSTGRES_URL": postgres_url,
            "FC_REDIS_URL": f"redis://:{redis.password}@{ADDRESS}:{to_redis.port}/{parse_qs(redis.query)['db'][0]}",
            # As the role of a service account is given to its pods.
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        yield Given(settings, secrets, unquote(urlsplit(postgres_url).password or ""))


@pytest.fixture
def scene(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    begun = int(time.time() - HOURS * 3600)
    events = int(HOURS * 3600 * EVENTS_PER_SECOND)
    lines = list(generate(17, fids=60, events=events, events_per_second=EVENTS_PER_SECOND, start_unix=begun))
    home, data_dir = tmp_path / "dagster_home", tmp_path / "data"
    home.mkdir()
    with ExitStack() as stack:
        nodes = stack.enter_context(machines(2))
        s3 = stack.enter_context(s3_server(ADDRESS))
        hub_url = stack.enter_context(serving(log_from_lines(lines)))
        given = stack.enter_context(reached_from_elsewhere(database, redis_url, hub_url, s3))
        kubernetes = stack.enter_context(acted_kubernetes())
        secrets = {"fc-pipeline": given.secrets, "fc-pipeline-postgres": {"postgresql-password": given.password}}
        cluster = Cluster(kubernetes, nodes, tmp_path / "pods", {"fc-pipeline": given.settings}, secrets)
        kubernetes.on_start, kubernetes.on_delete = cluster.start, cluster.delete
        launcher = run_launcher(kubernetes.kubeconfig(tmp_path))
        said = instance_file(given.secrets["FC_POSTGRES_URL"], s3, launcher)
        (home / "dagster.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
        pipeline = stack.enter_context(open_pipeline(database, data_dir, hub_url, **given.as_seen_from_here()))
        variables = {**given.variables(), "FC_DATA_DIR": str(data_dir)}
        processes = stack.enter_context(dagster(home, project_environment(**variables)))
        yield Scene(cluster, pipeline, lines, hub_url, s3, home, processes)


def test_a_machine_is_lost_amid_its_runs_and_nothing_else(
    scene: Scene, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    cluster, bench = scene.cluster, scene.pipeline.bench
    scene.until(lambda: len(scene.machines_that_wrote()) == 2, "not both machines work")

    def writing_on(machine: Machine) -> list[str]:
        return [name for name in machine.at_work() if name in scene.writers()]

    unlucky = cluster.machines[0]
    scene.until(lambda: writing_on(unlucky), "the first machine writes nothing")
    before = scene.writers()
    lost = cluster.lose(unlucky)
    print(f"lost {len(lost)} runs of {len(cluster.machine_of)}, with {sum(before.values())} heights covered")
    assert set(lost) & before.keys()
    assert bench.missing_hours(), "all was done before the machine was lost"

    scene.until(lambda: not bench.missing_hours(), "hours are missing")
    log = log_from_lines(scene.log)
    heights = [(n, shard.event_ids[0] >> 14, shard.event_ids[-1] >> 14) for n, shard in sorted(log.shards.items())]
    scene.until(lambda: bench.ledger() == heights, "heights are missing")
    for name in lost:
        scene.until(
            lambda name=name: status_of(scene, name) == DagsterRunStatus.FAILURE, f"{name} is not known as lost"
        )

    # Dagster stores the output of runs that end by themselves.
    scene.until(lambda: [key for key in scene.s3.stored() if key.startswith(f"{LOGS}/")], "no run's output is in S3")

    wrote = {machine.namespace: len(machine.processes.keys() & scene.writers()) for machine in cluster.machines}
    print(f"runs that wrote, by machine: {wrote}")
    ended = end(scene)
    assert ended
    for name in ended:  # a run that is asked to end does so between two micro-batches
        assert cluster.machine_of[name].processes[name].wait(60) == 0, cluster.output(name)
        assert status_of(scene, name) in {DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELED}
    (row,) = bench.rows("SELECT sum(events) AS n, sum(to_height - from_height + 1) AS heights FROM pipeline.coverage")
    assert row.n == len(scene.log)
    assert row.heights == sum(last - first + 1 for _, first, last in heights)
    assert bench.logged() == {number: list(shard.raws) for number, shard in log.shards.items()}
    with fresh_database(postgres) as other, workbench(other, tmp_path / "other", scene.hub_url) as undisturbed:
        undisturbed.run()
        assert undisturbed.dump() == bench.dump()
        assert undisturbed.quarantine() == bench.quarantine()


def status_of(scene: Scene, job: str) -> DagsterRunStatus:
    (run,) = [run for run in scene.pipeline.instance.get_runs() if get_job_name_from_run_id(run.run_id) == job]
    return run.status


def end(scene: Scene) -> list[str]:
    """End the daemon, then terminate the runs at work as the UI does; gives their jobs."""
    daemon = scene.processes.pop("daemon")
    os.killpg(daemon.pid, signal.SIGTERM)
    daemon.wait(TIMEOUT_SECONDS)
    at_work = {name for machine in scene.cluster.machines for name in machine.at_work()}
    ended: list[str] = []
    with DagsterInstance.from_config(str(scene.dagster_home)) as instance:
        for run in instance.get_runs():
            name = get_job_name_from_run_id(run.run_id)
            if name not in at_work:
                continue
            # One that is terminated before it has begun is known as canceled by the daemon alone, which is gone.
            scene.until(lambda run=run: instance.get_run_step_stats(run.run_id), f"{name} does not begin")
            if instance.run_launcher.terminate(run.run_id):  # not of one that has just ended by itself
                ended.append(name)
    return ended
