"""What `deploy/` says, read; and what Dagster's chart makes of its values, where that is a matter of names alone."""

import re
from pathlib import Path
from typing import Any

import yaml

from fc_pipeline.config.project import project_root

DEPLOY = project_root() / "deploy"
NAMESPACE = "fc"


def read_yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def image_variables() -> dict[str, str]:
    """What a container's process finds set by its image."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    return dict(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=(\S+?)(?: \\)?$", text, re.M))


def manifests() -> dict[str, list[dict[str, Any]]]:
    """The objects of each file that is applied as it is."""
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return {file.name: list(yaml.safe_load_all(file.read_text(encoding="utf-8"))) for file in files}


def run_launcher(kubeconfig: Path) -> dict[str, Any]:
    """The section `run_launcher` that the chart writes into dagster.yaml, for a cluster that a file names."""
    values = read_yaml("helm/values.yaml")
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    names = {
        "imagePullPolicy": "image_pull_policy",
        "labels": "labels",
        "resources": "resources",
        "securityContext": "security_context",
        "volumes": "volumes",
        "volumeMounts": "volume_mounts",
    }
    by_name = {"envConfigMaps": "env_config_maps", "envSecrets": "env_secrets"}
    in_pods = {"podSpecConfig": "pod_spec_config", "podTemplateSpecMetadata": "pod_template_spec_metadata"}
    in_jobs = {"jobSpecConfig": "job_spec_config"}
    assert given.keys() == {*names, *by_name, "runK8sConfig"}, "say here what the chart makes of it"
    config = {
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "job_namespace": NAMESPACE,
        "service_account_name": values["global"]["serviceAccountName"],
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        **{theirs: given[ours] for ours, theirs in names.items()},
        **{theirs: [one["name"] for one in given[ours]] for ours, theirs in by_name.items()},
        "run_k8s_config": {theirs: given["runK8sConfig"][ours] for ours, theirs in {**in_pods, **in_jobs}.items()},
    }
    return {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": config}
