"""The code location: it loads everywhere under one name, and every asset says what it is."""

import re
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from dagster import AssetKey, Definitions, FreshnessPolicy, TableSchema

from fc_pipeline.config.project import project_root
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.assets.closed_hours import CLOSED_HOURS
from fc_pipeline.orchestration.assets.links import SQL_EXAMPLES
from fc_pipeline.orchestration.assets.serving import SERVING_SPECS
from fc_pipeline.orchestration.instance.concurrency import CATCH_UP_TAG
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.registry import DATA_TABLES, MESSAGE_TABLES
from fc_pipeline.tables.user_profiles import PROFILES
from fc_pipeline_tests.support.pipeline import defs, project_environment
from fc_pipeline_tests.support.postgres import Database

ASSETS = (RAW_LOG, *DATA_TABLES)
BY_FID = ("fid_snapshots", "reconciled_fids", "gasless_keys")
TARGETS = "targets"
COUNTED = tuple(table.name for table in COUNT_TABLES)
SERVED = tuple(spec.key.to_user_string() for spec in SERVING_SPECS)
GRAPH = defs.resolve_asset_graph()


def run(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = project_environment(FC_DATA_DIR=str(tmp_path), FC_HUB_URLS="http://127.0.0.1:9")
    del environment["DAGSTER_HOME"]  # loading needs no instance
    return subprocess.run(command, cwd=project_root(), env=environment, capture_output=True, text=True, timeout=180)


@pytest.mark.slow
def test_a_fresh_interpreter_loads_the_definitions_and_starts_nothing(tmp_path: Path):
    script = "from fc_pipeline.definitions import build_defs; print(len(list(build_defs().resolve_all_asset_specs())))"
    done = run(tmp_path, sys.executable, "-W", "error::SyntaxWarning", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(len([*ASSETS, *BY_FID, TARGETS, CLOSED_HOURS, *SERVED]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_dagster_validates_the_workspace(tmp_path: Path):
    done = run(tmp_path, sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location fc_pipeline" in done.stdout + done.stderr


@pytest.mark.slow
def test_dg_checks_the_project(tmp_path: Path):
    pytest.importorskip("dagster_dg_cli")
    done = run(tmp_path, str(Path(sys.executable).parent / "dg"), "check", "defs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout


def test_every_way_to_load_it_has_the_same_name():
    workspace = yaml.safe_load((project_root() / "workspace.yaml").read_text())
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = workspace["load_from"]
    assert location["python_module"]["location_name"] == project["code_location_name"] == "fc_pipeline"
    assert location["python_module"]["module_name"] == project["code_location_target_module"]


def test_nothing_is_sent_to_anybody():
    instance = yaml.safe_load((project_root() / "dagster.yaml").read_text())
    assert instance["telemetry"] == {"enabled": False}
    assert instance["nux"] == {"enabled": False}
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())["tool"]["dg"]
    assert project["cli"]["telemetry"] == {"enabled": False}


def test_who_follows_waits_for_no_run_that_catches_up():
    """All that the limits allow at a time leaves places for the run that follows and its successor."""
    runs = yaml.safe_load((project_root() / "dagster.yaml").read_text())["concurrency"]["runs"]
    limits = {limit["key"]: limit["limit"] for limit in runs["tag_concurrency_limits"]}
    assert limits[CATCH_UP_TAG] >= 1
    assert sum(limits.values()) + 2 <= runs["max_concurrent_runs"]
    assert GRAPH.get(AssetKey("hub_events")).assets_def.op.pool is None  # a pool would hold it, too


def test_definitions_are_loadable():
    Definitions.validate_loadable(defs)


@pytest.mark.parametrize("name", [*ASSETS, *BY_FID, TARGETS])
def test_every_asset_says_what_it_is(name: str):
    spec = GRAPH.get(AssetKey(name)).to_asset_spec()
    assert spec.description
    assert spec.owners
    assert spec.group_name
    assert spec.kinds
    schema = spec.metadata["dagster/column_schema"]
    if not isinstance(schema, TableSchema):
        schema = schema.schema
    assert schema.columns
    assert all(column.description for column in schema.columns)
    assert all(column.type for column in schema.columns)


@pytest.mark.parametrize("name", [*ASSETS, *BY_FID, TARGETS, CLOSED_HOURS])
def test_every_asset_leads_to_its_code_its_runbook_and_a_query(name: str):
    metadata = GRAPH.get(AssetKey(name)).metadata
    assert metadata["dagster/code_references"].code_references
    assert metadata["sql_example"].value.startswith("```sql\nSELECT")
    runbook = metadata["runbook"].value
    assert runbook.startswith("#")
    assert not re.search(r"\]\((?!https?://)", runbook)  # a link to another page leads nowhere in the UI


def test_code_references_lead_to_the_lines_of_declarations():
    found: dict[str, list[str]] = {}
    for node in GRAPH.asset_nodes:
        for one in node.metadata["dagster/code_references"].code_references:
            lines = Path(one.file_path).read_text(encoding="utf-8").splitlines()
            found.setdefault(node.key.to_user_string(), []).append(lines[one.line_number - 1])
    assert found["casts"] == ["CASTS = DataTable(", "@multi_asset("]
    assert found["hub_events"] == ["@multi_asset(", "@dataclass", "class EventLog:"]
    assert found["cast_counts"] == ["CAST_COUNTS: Final = CountTable("]
    assert "-- name: api.following_feed" in found["api_feeds"]
    declares = re.compile(r"@|class |def |async def |[A-Z_]+\b.* = |-- name: ")
    assert all(declares.match(line) for lines in found.values() for line in lines)


@pytest.mark.parametrize("name", SQL_EXAMPLES)
def test_the_query_of_every_asset_is_answered(name: str, database: Database):
    with database.engine.connect() as connection:
        connection.exec_driver_sql(SQL_EXAMPLES[name]).all()


@pytest.mark.parametrize("name", ASSETS)
def test_every_asset_is_expected_to_be_fresh(name: str):
    """A run that follows reports about once a minute: two without any are worth a warning."""
    policy = GRAPH.get(AssetKey(name)).freshness_policy
    assert policy == FreshnessPolicy.time_window(fail_window=timedelta(minutes=5), warn_window=timedelta(minutes=2))
    assert yaml.safe_load((project_root() / "dagster.yaml").read_text())["freshness"] == {"enabled": True}


@pytest.mark.parametrize("name", DATA_TABLES)
def test_column_schemas_are_those_of_the_tables(name: str):
    schema = GRAPH.get(AssetKey(name)).metadata["dagster/column_schema"]
    schema = schema if isinstance(schema, TableSchema) else schema.schema
    table = DATA_TABLES[name]
    assert [column.name for column in schema.columns] == [column.name for column in table.shown_columns]
    assert {"version", "deleted_at"} <= {column.name for column in schema.columns}
    not_null = {column.name for column in schema.columns if not column.constraints.nullable}
    assert set(table.key) <= not_null
    assert schema.constraints is not None
    assert schema.constraints.other == [f"primary key ({', '.join(table.key)})"]


def test_lineage():
    parents = {name: {key.to_user_string() for key in GRAPH.get(AssetKey(name)).parent_keys} for name in ASSETS}
    assert parents[RAW_LOG] == set()
    assert all(parents[table] == {RAW_LOG} for table in (*MESSAGE_TABLES, "fid_activity"))
    assert parents["user_profiles"] == set(PROFILES.sources)
    assert parents["signers"] == {"on_chain_events", "gasless_keys"}
    by_fid = {
        name: {key.to_user_string() for key in GRAPH.get(AssetKey(name)).parent_keys} for name in (*BY_FID, TARGETS)
    }
    assert by_fid == {
        "fid_snapshots": {TARGETS},
        "reconciled_fids": {"fid_snapshots"},
        "gasless_keys": {"reconciled_fids"},
        TARGETS: {"links", "on_chain_events"},
    }
    groups = {name: GRAPH.get(AssetKey(name)).group_name for name in ASSETS}
    assert {name: groups[name] for name in DATA_TABLES} == {name: one.group for name, one in DATA_TABLES.items()}
    assert [groups[name] for name in ("casts", "embeds", "channel_pins", "channels", "storage_lends")] == [
        *("message_sets", "message_sets", "channels", "channels", "storage")
    ]
    assert groups[RAW_LOG] == "raw_log"
    assert (groups["user_profiles"], groups["fid_activity"]) == ("profiles", "activity")


def test_what_apps_read_stands_below_its_tables_with_a_query_to_begin_with():
    assert {*COUNTED, "neynar", "dune", "api_feeds", "api_notifications", "api_search", "api_users"} <= set(SERVED)
    for name in SERVED:
        node = GRAPH.get(AssetKey(name))
        parents = {key.to_user_string() for key in node.parent_keys}
        assert set() != parents <= {*DATA_TABLES, "gasless_keys", *COUNTED}, name
        assert node.group_name == "serving", name
        assert "```sql" in (node.description or ""), name
        assert not node.is_materializable, name
    for table in COUNT_TABLES:
        parents = {key.to_user_string() for key in GRAPH.get(AssetKey(table.name)).parent_keys}
        assert parents == {one.source.name for one in table.counts}, table.name


def test_every_asset_has_a_check():
    checks = {(key.asset_key.to_user_string(), key.name): GRAPH.get(key) for key in GRAPH.asset_check_keys}
    assert {asset for asset, _ in checks} == {*ASSETS, "reconciled_fids", "gasless_keys", TARGETS, *COUNTED}
    assert {name for asset, name in checks if asset == RAW_LOG} == {
        "coverage_without_holes",
        "usual_volume",
        "blocks_have_their_events",
        "files_as_written",
        "fresh",
        "no_open_gaps",
        "no_standstill",
        "quarantine_share",
        "no_unknown_types",
    }
    assert {name for asset, name in checks if asset == "reconciled_fids"} == {
        *("no_drift", "rows_match_log", "state_root", "message_proofs"),
    }
    assert {name for asset, name in checks if asset == TARGETS} == {"redis_equals_postgres", "histories_complete"}
    # A run that leaves a hole in its own hour fails by itself.
    assert not any(node.blocking for node in checks.values())


def test_every_check_can_be_executed_by_its_own_button_and_names_remedy_and_runbook():
    """The UI disables Execute for a check with partitions, and for one of several that are evaluated only together."""
    runbook = (project_root() / "docs" / "checks.md").read_text()
    for key in GRAPH.asset_check_keys:
        node = GRAPH.get(key)
        assert node.partitions_def is None, key
        assert len(GRAPH.get_execution_set_asset_and_check_keys(key)) == 1, key
        assert "If not: " in (node.description or ""), key
        assert f"`docs/checks.md#{key.name}`" in (node.description or ""), key
        assert f"\n### {key.name}\n" in runbook, key


def test_all_is_switched_on_from_the_start():
    repository = defs.get_repository_def()
    sensors = ["closed_hours", "difference", "gap", "hub_event", "index", "key", "standstill", "target"]
    assert [one.name for one in repository.sensor_defs] == [f"{name}_sensor" for name in sensors]
    schedules = {
        *("close_hour", "daily_audit", "daily_maintenance", "hourly_proofs", "hourly_targets", "regular_checks"),
    }
    assert {one.name for one in repository.schedule_defs} == schedules
    assert all(one.description for one in (*repository.sensor_defs, *repository.schedule_defs))
    running = {one.default_status.value for one in (*repository.sensor_defs, *repository.schedule_defs)}
    assert running == {"RUNNING"}
    jobs = {job.name for job in repository.get_all_jobs()}
    assert jobs >= {
        "micro_batches",
        "snapshots",
        "heal_gaps",
        "heal_differences",
        "sync_targets",
        "target_set",
        "run_checks",
        "proofs",
        "maintenance",
        "replay_quarantine",
        "read_keys",
    }
