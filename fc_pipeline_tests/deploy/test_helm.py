"""Dagster's official chart with our values: its schema takes them, Kubernetes its objects, Dagster its dagster.yaml.

The chart is somebody else's, and large: FC_DAGSTER_CHART names a folder with it (docs/testing.md).
"""

import os
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from fc_pipeline.orchestration.servers.dagster import DagsterProcesses
from fc_pipeline_tests.deploy.test_instance import limits, of_the_folder, without_limits
from fc_pipeline_tests.deploy.test_kubernetes import IMAGE, check_against_schema, is_held_short
from fc_pipeline_tests.support.deployed import DEPLOY, NAMESPACE, read_yaml, run_launcher

RELEASE = "dagster"
_HELD_SHORT = {"dagster-webserver": "webserver", "dagster-daemon": "daemon", "user-deployments": "code-server"}


def chart() -> Path:
    """The chart's folder. Skips where there is none, or no helm to render it."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not installed")
    folder = os.environ.get("FC_DAGSTER_CHART")
    if not folder:
        pytest.skip("FC_DAGSTER_CHART names no chart: helm pull dagster/dagster --untar")
    return Path(folder)


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """The objects of the release. Helm looks the values up in the chart's schema first."""
    values = DEPLOY / "helm" / "values.yaml"
    command = ["helm", "template", RELEASE, str(chart()), "--namespace", NAMESPACE, "--values", str(values)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return [one for one in yaml.safe_load_all(made.stdout) if one]


def pods_of(rendered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The templates of the pods by role."""
    templates = [one["spec"]["template"] for one in rendered if one["kind"] == "Deployment"]
    return {one["metadata"]["labels"]["component"]: one for one in templates}


@pytest.mark.slow
def test_the_chart_is_the_one_of_the_pinned_dagster() -> None:
    said = yaml.safe_load((chart() / "Chart.yaml").read_text(encoding="utf-8"))
    assert said["version"] == version("dagster")


def test_the_command_in_the_values_names_that_version() -> None:
    text = (DEPLOY / "helm" / "values.yaml").read_text(encoding="utf-8")
    assert re.findall(r"--version (\S+)", text) == [version("dagster")]


@pytest.mark.slow
def test_kubernetes_takes_all_of_it(rendered: list[dict[str, Any]]) -> None:
    for one in rendered:
        check_against_schema(one)
    assert not [one for one in rendered if one["kind"] == "Secret"]


@pytest.mark.slow
def test_dagster_reads_the_instance_which_is_ours(
    rendered: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = [one["data"]["dagster.yaml"] for one in rendered if "dagster.yaml" in one.get("data", {})]
    (tmp_path / "dagster.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "secret")
    read, _ = dagster_instance_config(str(tmp_path))
    assert read["run_storage"]["config"]["postgres_db"]["password"] == {"env": "DAGSTER_PG_PASSWORD"}
    said, values = yaml.safe_load(text), read_yaml("helm/values.yaml")
    elsewhere = {"run_launcher", "compute_logs", "retention", "run_monitoring"}
    folder = of_the_folder()
    ours = {name: value for name, value in without_limits(said).items() if name in folder.keys() - elsewhere}
    assert ours == {name: value for name, value in without_limits(folder).items() if name in ours}
    assert limits(said)[""] == values["concurrency"]["runs"]["maxConcurrentRuns"]
    assert said["run_monitoring"]["max_resume_run_attempts"] == 0
    assert said["run_retries"]["retry_on_asset_or_op_failure"] is False


@pytest.mark.slow
def test_its_launcher_is_the_one_that_other_tests_launch_with(rendered: list[dict[str, Any]], tmp_path: Path) -> None:
    (text,) = [one["data"]["dagster.yaml"] for one in rendered if "dagster.yaml" in one.get("data", {})]
    said, tried = yaml.safe_load(text)["run_launcher"], run_launcher(tmp_path / "kubeconfig.yaml")
    in_cluster = {"load_incluster_config": True}
    del tried["config"]["kubeconfig_file"]
    assert said == {**tried, "config": {**tried["config"], **in_cluster}}


@pytest.mark.slow
def test_the_location_has_its_name_and_is_served(rendered: list[dict[str, Any]]) -> None:
    (text,) = [one["data"]["workspace.yaml"] for one in rendered if "workspace.yaml" in one.get("data", {})]
    (location,) = yaml.safe_load(text)["load_from"]
    assert location["grpc_server"]["location_name"] == DagsterProcesses.location
    (container,) = pods_of(rendered)["user-deployments"]["spec"]["containers"]
    assert container["args"][:3] == ["dagster", "code-server", "start"]
    assert container["args"][-2:] == ["-m", "fc_pipeline.definitions"]
    assert str(location["grpc_server"]["port"]) in container["args"]


@pytest.mark.slow
@pytest.mark.parametrize("component", sorted(_HELD_SHORT))
def test_dagsters_own_pods_are_held_short(rendered: list[dict[str, Any]], component: str) -> None:
    template = pods_of(rendered)[component]
    assert template["metadata"]["labels"]["fc-pipeline/role"] == _HELD_SHORT[component]
    (container,) = template["spec"]["containers"]
    of_dagster = {"dagster-instance", "dagster-workspace-yaml"}
    ours = {
        **container,
        "volumeMounts": [one for one in container["volumeMounts"] if one["name"] not in of_dagster],
    }
    volumes = [one for one in template["spec"]["volumes"] if one["name"] not in of_dagster]
    is_held_short({**template["spec"], "volumes": volumes}, ours)
    assert container["image"] == IMAGE
    assert "livenessProbe" in container
