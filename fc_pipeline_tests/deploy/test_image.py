"""The image's recipe, as far as it can be read without building it: its packages, its files, its user."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fc_pipeline.config.project import project_root
from fc_pipeline_tests.support.deployed import DEPLOY, image_variables, read_yaml
from fc_pipeline_tests.support.pipeline import project_environment

ROOT = project_root()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
LEFT_OUT = re.findall(r"grep -vE '\^\(([\w|-]+)\)=='", DOCKERFILE)[0].split("|")
"""Packages of the lock that are not in the image."""

LOADED_WITHOUT = """
import sys
left_out = set(sys.argv[1].split())

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in left_out:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Absent())
import fc_pipeline.cli.main, fc_pipeline.definitions, fc_pipeline.orchestration.instance.run_launcher
import fc_pipeline.orchestration.servers.daemon, dagster_webserver, dagster_k8s, dagster_aws.s3
print(len(fc_pipeline.definitions.build_defs().resolve_all_job_defs()))
"""


def hadolint() -> Path:
    """Where it is, if it is installed."""
    beside_python = Path(sys.executable).parent / "hadolint"
    found = beside_python if beside_python.is_file() else shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed: make test installs it")
    return Path(found)


def test_a_linter_has_nothing_to_say() -> None:
    linted = subprocess.run([hadolint(), DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (linted.stdout, linted.returncode) == ("", 0)


def test_what_is_left_out_is_locked_by_these_names_and_nobody_misses_it() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}==", lock, re.M) for name in LEFT_OUT)
    modules = " ".join(name.replace("-", "_") for name in LEFT_OUT)
    environment = project_environment(FC_POSTGRES_URL="postgresql://127.0.0.1:9/none", FC_REDIS_URL="redis://none")
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED_WITHOUT, modules],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert int(loaded.stdout) > 3


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    ignored = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"
    ]
    assert ignored[0] == "*"
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copies = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY") and "--from" not in line
    ]
    copied = {name for names in copies for name in names}
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in sent), name
    assert not [name for name in sent if not (ROOT / name).exists()]
    assert ".env" not in sent


def test_its_user_is_the_one_that_kubernetes_lets_in() -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.M)
    (code_server,) = read_yaml("helm/values.yaml")["dagster-user-deployments"]["deployments"]
    security = code_server["podSecurityContext"]
    assert user == (str(security["runAsUser"]), str(security["runAsGroup"])) == ("10001", "10001")


def test_what_is_written_to_are_the_volumes_of_the_pods() -> None:
    (code_server,) = read_yaml("helm/values.yaml")["dagster-user-deployments"]["deployments"]
    mounts = {mount["mountPath"] for mount in code_server["volumeMounts"]}
    (made,) = re.findall(r"install -d -o fc -g fc ([^\n]+)", DOCKERFILE)
    assert mounts == {"/tmp", *made.split()}  # noqa: S108
    assert image_variables()["FC_DATA_DIR"] in mounts
    assert image_variables()["HOME"] in mounts


def test_the_version_is_the_one_of_the_package() -> None:
    (version,) = re.findall(r'^version = "([\d.]+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    for file in (*DEPLOY.rglob("*.yaml"), DEPLOY / "Dockerfile"):
        for tag in re.findall(r"fc_pipeline:([\d.]+)\b", file.read_text(encoding="utf-8")):
            assert tag == version, file
    assert read_yaml("helm/values.yaml")["dagsterWebserver"]["image"]["tag"] == version


@pytest.mark.slow
def test_it_is_built_and_shows_its_commands() -> None:
    """Where a Docker can build it: it takes minutes, and a registry."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker is at work here")
    tag = f"fc_pipeline_tests:{os.getpid()}"
    subprocess.run([docker, "build", "-f", DEPLOY / "Dockerfile", "-t", tag, ROOT], check=True)
    try:
        shown = subprocess.run(
            [docker, "run", "--rm", "--read-only", "--tmpfs", "/tmp", tag, "fc-pipeline", "backfill", "--help"],  # noqa: S108
            capture_output=True,
            text=True,
            check=True,
        )
        assert "--dry-run" in shown.stdout
        packages = subprocess.run(
            [docker, "run", "--rm", tag, "pip", "list", "--format=json"], capture_output=True, check=True
        )
        assert not {one["name"] for one in json.loads(packages.stdout)} & set(LEFT_OUT)
    finally:
        subprocess.run([docker, "image", "rm", tag], capture_output=True, check=False)
