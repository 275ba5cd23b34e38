"""What is applied as it is, and the job that a run becomes: objects that Kubernetes 1.33 takes, as little as they need.

A run's job is the one that Dagster's launcher sends, over HTTP, configured by the values for the chart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml
from dagster import DagsterInstance, deserialize_value
from dagster._cli.api import ExecuteRunArgs
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from fc_pipeline.cli.main import app
from fc_pipeline.config.settings import Settings, declared_settings
from fc_pipeline.orchestration.jobs import MICRO_BATCHES
from fc_pipeline_tests.support.acted_kubernetes import acted_kubernetes
from fc_pipeline_tests.support.deployed import DEPLOY, manifests, read_yaml, run_launcher
from fc_pipeline_tests.support.pipeline import defs

KUBERNETES = "1.33"
ROLES = {"webserver", "daemon", "code-server", "run", "metrics", "alerts", "bootstrap"}
IMAGE = "registry.example.com/fc_pipeline:0.1.0"
"""Of the values and the manifests; whoever deploys names another one."""
WRITABLE = {"/tmp", "/opt/dagster/dagster_home", "/var/lib/fc_pipeline"}  # noqa: S108


def check_against_schema(an_object: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    validate.validate(an_object, KUBERNETES, strict=True)


@contextmanager
def instance_of_the_chart(folder: Path, launcher: dict[str, Any]) -> Iterator[DagsterInstance]:
    (folder / "dagster.yaml").write_text(yaml.safe_dump({"run_launcher": launcher}), encoding="utf-8")
    with DagsterInstance.from_config(str(folder)) as instance:
        yield instance


@pytest.fixture(scope="module")
def job_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The job that is sent for a run of the feed."""
    folder = tmp_path_factory.mktemp("instance")
    pointer = ModuleCodePointer("fc_pipeline.definitions", "defs")
    repository = RepositoryPythonOrigin("python", pointer, container_image=IMAGE, entry_point=["dagster"])
    with acted_kubernetes() as acted, instance_of_the_chart(folder, run_launcher(acted.kubeconfig(folder))) as instance:
        location = GrpcServerCodeLocationOrigin(host="code-server", port=3030, location_name="fc_pipeline")
        run = instance.create_run_for_job(
            defs.resolve_job_def(MICRO_BATCHES.name),
            remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), MICRO_BATCHES.name),
            job_code_origin=JobPythonOrigin(MICRO_BATCHES.name, repository),
        )
        instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        (made,) = acted.made
    return made


def pods() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Of each role that a manifest of ours makes: the pod's spec and its only container."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for objects in manifests().values():
        for one in objects:
            if one["kind"] in {"Deployment", "Job"}:
                template = one["spec"]["template"]
                (container,) = template["spec"]["containers"]
                found[template["metadata"]["labels"]["fc-pipeline/role"]] = template["spec"], container
    return found


@pytest.mark.parametrize("role", sorted(pods()))
def test_its_command_is_one_of_ours(role: str) -> None:
    _, container = pods()[role]
    program, *words = container["args"]
    assert program == "fc-pipeline"
    command = typer.main.get_command(app)
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    command.make_context(role, words)


def is_held_short(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Neither root nor able to become it, and nothing is written to but volumes that end with the pod."""
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} <= WRITABLE
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", sorted(manifests()))
def test_kubernetes_takes_the_manifests(name: str) -> None:
    for one in manifests()[name]:
        check_against_schema(one)


def test_kubernetes_takes_the_job_of_a_run(job_of_a_run: dict[str, Any]) -> None:
    check_against_schema(job_of_a_run)


def test_a_run_is_a_pod_that_ends_by_itself_and_is_not_tried_again(job_of_a_run: dict[str, Any]) -> None:
    spec = job_of_a_run["spec"]
    assert spec["backoffLimit"] == 0  # the sensors look for what is left to do
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    monitoring = read_yaml("helm/values.yaml")["dagsterDaemon"]["runMonitoring"]
    assert 60 <= pod["terminationGracePeriodSeconds"] < monitoring["cancelTimeoutSeconds"]
    (container,) = pod["containers"]
    is_held_short(pod, container)
    assert container["image"] == IMAGE
    assert container["args"][:3] == ["dagster", "api", "execute_run"]
    executed = deserialize_value(container["args"][3], ExecuteRunArgs)
    assert executed.job_origin.job_name == MICRO_BATCHES.name
    assert spec["template"]["metadata"]["labels"]["fc-pipeline/role"] == "run"


def test_a_run_gets_its_settings_and_secrets_by_name_alone(job_of_a_run: dict[str, Any]) -> None:
    (container,) = job_of_a_run["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "fc-pipeline"}}, {"secretRef": {"name": "fc-pipeline"}}]
    (password,) = [one for one in container["env"] if one["name"] == "DAGSTER_PG_PASSWORD"]
    assert password["valueFrom"] == {
        "secretKeyRef": {"name": "fc-pipeline-postgres", "key": "postgresql-password"},
    }


@pytest.mark.parametrize("role", sorted(pods()))
def test_what_runs_beside_dagster_is_held_as_short(role: str) -> None:
    pod, container = pods()[role]
    is_held_short(pod, container)
    assert pod["automountServiceAccountToken"] is False  # it asks nothing of Kubernetes
    assert pod["enableServiceLinks"] is False
    assert container["image"] == IMAGE


def test_no_service_is_named_as_settings_are() -> None:
    """Each pod of a namespace gets variables with the names of its services: of `fc-x`, FC_X_PORT."""
    values = read_yaml("helm/values.yaml")
    names = [one["name"] for one in values["dagster-user-deployments"]["deployments"]]
    names += [
        one["metadata"]["name"] for objects in manifests().values() for one in objects if one["kind"] == "Service"
    ]
    assert names
    assert not [name for name in names if name.startswith("fc-")]


def test_the_settings_are_such_and_none_is_secret() -> None:
    (settings,) = manifests()["settings.yaml"]
    read = Settings.load({"FC_POSTGRES_URL": "postgresql://x/y", "FC_REDIS_URL": "redis://x", **settings["data"]}, None)
    assert read.lake_uri.startswith("s3://")
    assert read.follow_seconds < read_yaml("helm/values.yaml")["dagsterDaemon"]["runMonitoring"]["maxRuntimeSeconds"]
    assert settings["data"].keys() <= declared_settings().keys()
    secret = {"FC_POSTGRES_URL", "FC_REDIS_URL", "FC_HUB_HEADERS", "FC_ALERT_URLS"}
    assert not settings["data"].keys() & secret
    for file in (*DEPLOY.rglob("*.yaml"), DEPLOY / "Dockerfile"):
        text = file.read_text(encoding="utf-8")
        assert "postgresqlPassword:" not in text, file


class TestNetworkPolicy:
    """Which pods a rule lets speak to which, as a network plugin reads it: what no policy allows is forbidden."""

    policies = manifests()["network-policy.yaml"]

    @staticmethod
    def selects(selector: dict[str, Any], role: str) -> bool:
        assert selector.keys() <= {"matchLabels", "matchExpressions"}
        by_label = all(role == value for value in selector.get("matchLabels", {}).values())
        by_expression = all(
            one["operator"] == "Exists" or role in one["values"] for one in selector.get("matchExpressions", [])
        )
        return by_label and by_expression

    def ports(self, direction: str, role: str) -> set[int]:
        """Those that it may listen on, or speak to."""
        rules = [
            rule
            for policy in self.policies
            if self.selects(policy["spec"]["podSelector"], role) and direction in policy["spec"]["policyTypes"]
            for rule in policy["spec"].get(direction.lower(), [])
        ]
        return {port["port"] for rule in rules for port in rule["ports"]}

    @pytest.mark.parametrize("role", sorted(ROLES))
    def test_every_pod_is_under_one_that_allows_nothing_by_itself(self, role: str) -> None:
        first = self.policies[0]["spec"]
        assert self.selects(first["podSelector"], role)
        assert first["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in first

    def test_only_what_serves_somebody_is_reached(self) -> None:
        served = {role: self.ports("Ingress", role) for role in ROLES}
        values = read_yaml("helm/values.yaml")
        (code_server,) = values["dagster-user-deployments"]["deployments"]
        assert served == {
            "code-server": {code_server["port"]},
            "webserver": {values["dagsterWebserver"]["service"]["port"]},
            "metrics": {9464},
            "daemon": set(),
            "run": set(),
            "alerts": set(),
            "bootstrap": set(),
        }

    @pytest.mark.parametrize("role", sorted(ROLES))
    def test_each_reaches_what_it_needs(self, role: str) -> None:
        everybody = {53, 5432, 6379, 443, 6443}
        asks_hubs, asks_the_code_server = {3381, 3383}, {3030}
        expected = everybody | (asks_the_code_server if role in {"webserver", "daemon"} else asks_hubs)
        assert self.ports("Egress", role) == expected
