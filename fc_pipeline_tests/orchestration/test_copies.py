"""Copies of the pipeline in somebody's own definitions: each with its own names, and its own database and lake."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from dagster import (
    AssetKey,
    AssetSpec,
    DagsterInstance,
    Definitions,
    OpDefinition,
    RunRequest,
    SensorResult,
    build_schedule_context,
    build_sensor_context,
    multiprocess_executor,
    validate_run_config,
)

from fc_pipeline import ReplicaResource, build_defs
from fc_pipeline.config.project import project_root
from fc_pipeline.errors import ConfigError
from fc_pipeline.orchestration.assets.closed_hours import CLOSED_HOURS
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, open_pipeline, project_environment, sample_hub
from fc_pipeline_tests.support.postgres import Database, fresh_database

FIRST, SECOND, _ = SAMPLE_HOURS
COPIES = ("acme", "beta")


def copy(name: str, **settings: str) -> Definitions:
    resources = {"replica": ReplicaResource(settings=settings)} if settings else None
    return build_defs(
        key_prefix=["farcaster", name],
        group_prefix=name,
        tags={"tenant": name},
        owners=[f"team:{name}"],
        resources=resources,
    )


def test_copies_have_nothing_in_common():
    both = [copy(name) for name in COPIES]
    names: list[set[str]] = []
    for one in (*both, build_defs()):
        repository = one.get_repository_def()
        graph = one.resolve_asset_graph()
        ops = {node.assets_def.op.name for node in graph.asset_nodes if node.is_executable}
        own = {
            *(key.to_user_string() for key in graph.get_all_asset_keys()),
            *(key.to_user_string() for key in graph.asset_check_keys),
            *(job.name for job in repository.get_all_jobs() if job.name != "__ASSET_JOB"),
            *(sensor.name for sensor in repository.sensor_defs),
            *(schedule.name for schedule in repository.schedule_defs),
            *ops,
            *(one.resources or {}),
            *(f"group {node.group_name}" for node in graph.asset_nodes),
        }
        names.append(own)
    assert len(set.union(*names)) == sum(map(len, names))
    assert len({*map(len, names)}) == 1  # a copy has everything


def test_a_copy_has_its_dependencies_checks_and_labels():
    declared, copied = build_defs().resolve_asset_graph(), copy("acme").resolve_asset_graph()
    for node in declared.asset_nodes:
        key = AssetKey(["farcaster", "acme", *node.key.path])
        own = copied.get(key)
        assert own.parent_keys == {AssetKey(["farcaster", "acme", *parent.path]) for parent in node.parent_keys}
        assert own.group_name == f"acme_{node.group_name}"
        assert own.tags["tenant"] == "acme"
        assert own.owners == ["team:acme"]
        table = {
            name: f"farcaster_acme.{node.metadata[name]}" for name in ("dagster/table_name",) if name in node.metadata
        }
        assert (own.metadata, own.description) == ({**node.metadata, **table}, node.description)
        assert {one.name for one in copied.get_check_keys_for_assets({key})} == {
            one.name for one in declared.get_check_keys_for_assets({node.key})
        }


def pools(one: Definitions) -> dict[str, str | None]:
    """The pool of each step that has one."""
    jobs = one.get_repository_def().get_all_jobs()
    ops = {node.name: node for job in jobs for node in job.graph.node_defs if isinstance(node, OpDefinition)}
    return {name: op.pool for name, op in ops.items() if op.pool}


def test_what_asks_a_hub_for_many_users_is_in_a_pool_and_what_follows_is_not():
    asking = {"snapshot", "heal_open_gaps", "heal_differing_users", "complete_histories", "read_gasless_keys"}
    assert pools(build_defs()) == dict.fromkeys(asking, "fc_hub")
    assert pools(copy("acme")) == {f"farcaster_acme_{name}": "farcaster_acme_fc_hub" for name in asking}
    assert set(pools(build_defs(key_prefix="acme", hub_pool="one")).values()) == {"one"}
    assert set(pools(build_defs(hub_pool="one"))) == asking


def test_a_pool_is_unlimited_until_somebody_says_otherwise():
    concurrency = yaml.safe_load((project_root() / "dagster.yaml").read_text())["concurrency"]
    assert concurrency["pools"] == {"granularity": "run"}


def test_copies_merge_with_definitions_that_have_another_executor():
    theirs = Definitions([AssetSpec("orders")], executor=multiprocess_executor)
    merged = Definitions.merge(theirs, *map(copy, COPIES))
    Definitions.validate_loadable(merged)
    jobs = {job.name: job for job in merged.get_repository_def().get_all_jobs()}
    assert jobs["farcaster_acme_micro_batches"].executor_def.name == "in_process"
    assert jobs["farcaster_beta_heal_gaps"].tags["tenant"] == "beta"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"key_prefix": "a-b"}, "'a-b' is no prefix"),
        ({"group_prefix": ""}, "'' is no prefix"),
        ({"hub_pool": "our hub"}, "'our hub' is no pool's name"),
        ({"resources": {"database": ReplicaResource()}}, "unknown resources: database"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        build_defs(**arguments)


def test_the_package_imports_no_dagster_before_it_is_asked_for_definitions():
    script = "import sys, fc_pipeline; assert 'dagster' not in sys.modules; from fc_pipeline import build_defs"
    done = subprocess.run([sys.executable, "-c", script], env=project_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass
class Two:
    """Both copies in one code location, on one instance."""

    instance: DagsterInstance
    defs: Definitions
    databases: dict[str, Database]

    def run(self, name: str, request: RunRequest | None = None) -> None:
        job = self.defs.resolve_job_def(f"farcaster_{name}_micro_batches")
        config = request.run_config if request else {}
        hour = (request.partition_key if request else None) or FIRST.key
        assert job.execute_in_process(instance=self.instance, partition_key=hour, run_config=config).success

    def rows(self, name: str) -> dict[str, int]:
        with self.databases[name].engine.connect() as connection:
            return {table: connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0 for table in DATA_TABLES}

    def tick(self, name: str, sensor: str) -> SensorResult:
        found = self.defs.get_repository_def().get_sensor_def(f"farcaster_{name}_{sensor}")
        context = build_sensor_context(
            instance=self.instance, resources=self.defs.resources, repository_def=self.defs.get_repository_def()
        )
        result = found(context)
        assert isinstance(result, SensorResult)
        return result

    def reported(self) -> set[tuple[str, ...]]:
        """The assets with a materialisation, and of the checks those that were evaluated, by prefix."""
        keys = [key for key in self.instance.all_asset_keys() if self.instance.get_latest_materialization_event(key)]
        return {tuple(key.path[:-1]) for key in keys}


@pytest.fixture
def two(database: Database, postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Two]:
    """The environment names a third database: nothing of it is used."""
    with (
        sample_hub() as url,
        fresh_database(postgres) as acme,
        fresh_database(postgres) as beta,
        open_pipeline(database, tmp_path / "environment", "http://127.0.0.1:9") as pipeline,
    ):
        databases = {"acme": acme, "beta": beta}
        settings = {
            name: {"FC_POSTGRES_URL": one.url, "FC_DATA_DIR": str(tmp_path / name), "FC_HUB_URLS": url}
            for name, one in databases.items()
        }
        merged = Definitions.merge(*(copy(name, **given) for name, given in settings.items()))
        yield Two(pipeline.instance, merged, databases)


@pytest.mark.slow
def test_a_micro_batch_of_each_writes_its_own_database_and_reports_its_own_assets(two: Two):
    nothing = two.rows("beta")
    assert not any(nothing.values())
    two.run("acme")
    assert two.rows("acme")["casts"] > 0
    assert two.rows("beta") == nothing
    assert two.reported() == {("farcaster", "acme")}
    for table in DATA_TABLES:
        assert two.instance.get_materialized_partitions(AssetKey(["farcaster", "acme", table])) == {FIRST.key}
    evaluated = two.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(two.defs.resolve_asset_graph().asset_check_keys)
    )
    assert {tuple(key.asset_key.path[:-1]) for key in evaluated} == {("farcaster", "acme")}

    of_acme = two.rows("acme")
    two.run("beta")
    assert two.rows("beta") == of_acme == two.rows("acme")
    assert two.reported() == {("farcaster", "acme"), ("farcaster", "beta")}


@pytest.mark.slow
def test_sensors_and_schedules_ask_for_runs_of_their_own_copy(two: Two):
    requests = two.tick("acme", "hub_event_sensor").run_requests or []
    by_hour = {request.partition_key: request for request in requests}
    job = two.defs.resolve_job_def("farcaster_acme_micro_batches")
    assert {FIRST.key, SECOND.key} <= set(by_hour)
    for request in requests:
        validate_run_config(job, request.run_config)
    for hour in (FIRST, SECOND):
        two.run("acme", by_hour[hour.key])
    assert FIRST.key not in {one.partition_key for one in two.tick("acme", "hub_event_sensor").run_requests or []}
    assert FIRST.key in {one.partition_key for one in two.tick("beta", "hub_event_sensor").run_requests or []}

    checks = two.defs.resolve_job_def("farcaster_acme_run_checks")
    assert checks.execute_in_process(instance=two.instance).success
    (closed,) = two.tick("acme", "closed_hours_sensor").asset_events
    assert closed.asset_key == AssetKey(["farcaster", "acme", CLOSED_HOURS])
    assert two.tick("beta", "closed_hours_sensor").asset_events == []

    schedule = two.defs.get_repository_def().get_schedule_def("farcaster_acme_close_hour")
    context = build_schedule_context(
        instance=two.instance, scheduled_execution_time=SECOND.next.start, resources=two.defs.resources
    )
    closing = schedule(context)
    assert isinstance(closing, RunRequest)
    assert closing.partition_key == SECOND.key
    validate_run_config(job, closing.run_config)
