"""The component: from an empty project folder to definitions, by `dg` alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dagster import AssetKey, DagsterInstance, Definitions
from dagster.components.testing import create_defs_folder_sandbox

from fc_pipeline import FarcasterReplica
from fc_pipeline_tests.support.pipeline import project_environment

PROJECT = """
[project]
name = "acme"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "acme"

[tool.dg.cli.telemetry]
enabled = false
"""
DEFINITIONS = """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


def dg(project: Path, *command: str) -> str:
    environment = project_environment(PYTHONPATH=str(project / "src"))
    del environment["DAGSTER_HOME"]
    binary = str(Path(sys.executable).parent / "dg")
    done = subprocess.run([binary, *command], cwd=project, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_dg_scaffolds_it_in_an_empty_project_and_lists_its_definitions(tmp_path: Path):
    pytest.importorskip("dagster_dg_cli")
    package = tmp_path / "src" / "acme"
    (package / "defs").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (package / "definitions.py").write_text(DEFINITIONS)
    for folder in (package, package / "defs"):
        (folder / "__init__.py").touch()

    dg(tmp_path, "scaffold", "defs", "fc_pipeline.FarcasterReplica", "social/main-net")
    written = package / "defs" / "social" / "main-net" / "defs.yaml"
    declared = yaml.safe_load(written.read_text())
    assert declared["type"] == "fc_pipeline.FarcasterReplica"
    assert declared["attributes"]["key_prefix"] == "main_net"
    dg(tmp_path, "scaffold", "defs", "fc_pipeline.FarcasterReplica", "testnet")

    listed = json.loads(dg(tmp_path, "list", "defs", "--json"))
    assert {"main_net/casts", "testnet/casts", "testnet/closed_hours"} <= {one["asset_key"] for one in listed["assets"]}
    assert {"main_net_hub_event_sensor", "testnet_gap_sensor"} <= {one["name"] for one in listed["sensors"]}
    assert {"main_net_micro_batches", "testnet_run_checks"} <= {one["name"] for one in listed["jobs"]}
    assert not (tmp_path / "data").exists()  # loading starts nothing


def test_its_attributes_are_those_of_build_defs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACME_POSTGRES_URL", "postgresql://writer:secret@127.0.0.1:9/farcaster")
    # An instance of its own: loading asks the one that was opened last, which may be gone.
    with DagsterInstance.ephemeral(), create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(
            component_cls=FarcasterReplica,
            defs_yaml_contents={
                "type": "fc_pipeline.FarcasterReplica",
                "attributes": {
                    "key_prefix": ["social", "farcaster"],
                    "group_prefix": "farcaster",
                    "tags": {"team": "growth"},
                    "owners": ["team:growth"],
                    "hub_pool": "internal_hub",
                    "settings": {"FC_HUB_URLS": "http://127.0.0.1:9"},
                    "settings_from_env": {"FC_POSTGRES_URL": "ACME_POSTGRES_URL"},
                },
            },
        )
        with sandbox.load_component_and_build_defs(defs_path=path) as (component, defs):
            assert isinstance(component, FarcasterReplica)
            Definitions.validate_loadable(defs)
            casts = defs.resolve_asset_graph().get(AssetKey(["social", "farcaster", "casts"]))
            assert casts.group_name == "farcaster_message_sets"
            assert casts.tags["team"] == "growth"
            assert casts.owners == ["team:growth"]
            assert defs.resolve_job_def("social_farcaster_read_keys").graph.node_defs[0].pool == "internal_hub"
            replica = (defs.resources or {})["social_farcaster_replica"]
            assert replica.load_settings().postgres_url.endswith("@127.0.0.1:9/farcaster")
            shown = defs.get_repository_def().get_top_level_resources()["social_farcaster_replica"].config_schema
            assert shown.default_value["settings"]["FC_POSTGRES_URL"] == {"env": "ACME_POSTGRES_URL"}
            assert "secret" not in str(shown.default_value)
