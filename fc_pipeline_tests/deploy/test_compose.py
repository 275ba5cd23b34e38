"""The containers of one machine fit together: names, ports, health, who waits for whom."""

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from fc_pipeline.config.settings import Settings, declared_settings
from fc_pipeline.config.variables import OF_PROCESSES
from fc_pipeline.orchestration.instance.instances import INSTANCE_VARIABLE, machine_of, place_of
from fc_pipeline_tests.support.deployed import DEPLOY, read_yaml

COMPOSE: dict[str, Any] = read_yaml("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("fc_pipeline")}
GIVEN = {"POSTGRES_PASSWORD": "s3cret", "FC_HUB_URLS": "http://hub.example:3381"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::[-?][^}]*)?\}")


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """As compose fills it in, from variables that have to be there alone."""
    return {
        name: _VARIABLE.sub(lambda found: GIVEN.get(found[1], ""), str(value))
        for name, value in service["environment"].items()
    }


def test_there_is_what_a_replica_needs() -> None:
    assert SERVICES.keys() == {
        *("postgres", "redis", "code-server", "webserver", "daemon", "metrics", "alerts"),
    }


@pytest.mark.parametrize("name", sorted(OURS))
def test_its_settings_are_settings(name: str) -> None:
    environment = environment_of(OURS[name])
    assert environment.keys() <= declared_settings().keys() | OF_PROCESSES
    settings = Settings.load({"FC_DATA_DIR": "/nowhere", **environment}, None)
    assert settings.postgres_url is not None
    assert f"@postgres:5432/{SERVICES['postgres']['environment']['POSTGRES_DB']}" in settings.postgres_url
    assert settings.redis_url == "redis://redis:6379/0"


def test_who_cannot_be_without_a_setting_is_told() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    assert required == GIVEN.keys()


def test_the_daemon_launches_runs_under_the_name_that_lives_with_the_code_server() -> None:
    names = {environment_of(one)[INSTANCE_VARIABLE] for one in (SERVICES["daemon"], SERVICES["code-server"])}
    (name,) = names
    # The UI terminates a run only on the machine that it runs on.
    hosts = {machine_of(name), *(one["hostname"] for one in OURS.values())}
    assert len(hosts) == 1
    assert place_of(name).endswith(":/var/lib/fc_pipeline")


def test_all_find_the_code_server() -> None:
    (location,) = yaml.safe_load(COMPOSE["configs"]["workspace"]["content"])["load_from"]
    server = location["grpc_server"]
    command = SERVICES[server["host"]]["command"]
    assert command[command.index("-p") + 1] == str(server["port"])
    assert server["location_name"] == "fc_pipeline"
    for name in ("webserver", "daemon"):
        command = SERVICES[name]["command"]
        assert command[command.index("-w") + 1] == SERVICES[name]["configs"][0]["target"]
        assert SERVICES[name]["depends_on"] == {"code-server": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nothing_is_reached_from_elsewhere(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(OURS))
def test_ours_are_held_short(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108
    assert "mem_limit" in service


def test_who_is_waited_for_says_when_it_is_ready() -> None:
    waited_for = {name for one in SERVICES.values() for name in one.get("depends_on", {})}
    assert waited_for
    assert all("healthcheck" in SERVICES[name] for name in waited_for)


@pytest.mark.slow
def test_compose_reads_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    read = subprocess.run(
        [docker, "compose", "-f", DEPLOY / "compose.yaml", "--profile", "alerts", "config", "--format", "yaml"],
        env={**os.environ, **GIVEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    assert yaml.safe_load(read.stdout)["services"].keys() == SERVICES.keys()
