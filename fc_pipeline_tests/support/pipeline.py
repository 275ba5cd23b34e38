"""Dagster in a test: our definitions on an instance of its own, as dagster.yaml has it, and a replica to fill."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterInstance,
    EventLogRecord,
    ExecuteInProcessResult,
    RunConfig,
    RunRequest,
    TableMetadataValue,
)
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as COMPLETED,
)
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from dagster_postgres import DagsterPostgresStorage

from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.definitions import build_defs
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.assets.hourly import MicroBatchConfig, hourly_tables
from fc_pipeline.orchestration.instance.storage import DAGSTER_DATABASE
from fc_pipeline.replica import open_replica
from fc_pipeline.sample_hub.log import load_log
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.copies import Copies, exists
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database, administering, settings_of
from fc_pipeline_tests.support.workbench import Workbench

defs = build_defs()

_DAGSTER_TEMPLATE = "template_dagster"
_copies: dict[str, Copies] = {}
"""Of each server, by its URL."""


@dataclass(frozen=True)
class Pipeline:
    """The instance, the replica, and the variables with which another process finds both."""

    instance: DagsterInstance
    bench: Workbench
    environment: dict[str, str]

    def materialize(
        self, *assets: str, hour: Hour, last: Hour | None = None, raise_on_error: bool = True, **config: Any
    ) -> ExecuteInProcessResult:
        """Materialise assets (none named: all hourly ones) for an hour, or for all from it to `last` in one run."""
        keys = [AssetKey(name) for name in assets] or list(hourly_tables.keys)
        tags = {} if last is None else _range(hour, last)
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=keys,
            partition_key=hour.key if last is None else None,
            tags=tags,
            run_config=RunConfig(ops={hourly_tables.op.name: MicroBatchConfig(**config)}),
            raise_on_error=raise_on_error,
        )

    def launch(self, request: RunRequest, job: str, *, raise_on_error: bool = True) -> ExecuteInProcessResult:
        """The run of a job that a sensor or a schedule asks for."""
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=dict(request.tags),
            run_config=request.run_config,
            raise_on_error=raise_on_error,
        )

    def record(self, asset: str, hour: Hour | None = None) -> EventLogRecord:
        """The newest materialisation of an asset's hour, or of an asset that has no partitions."""
        wanted = AssetRecordsFilter(AssetKey(asset), asset_partitions=[hour.key] if hour else None)
        return self.instance.fetch_materializations(wanted, limit=1).records[0]

    def metadata(self, asset: str, hour: Hour | None = None) -> dict[str, Any]:
        """The values of that materialisation's metadata."""
        materialization = self.record(asset, hour).asset_materialization
        assert materialization is not None
        return {
            name: entry.records if isinstance(entry, TableMetadataValue) else entry.value
            for name, entry in materialization.metadata.items()
        }

    def numbers(self, asset: str, hour: Hour, *names: str) -> dict[str, Any]:
        """Some of them."""
        metadata = self.metadata(asset, hour)
        return {name: metadata[name] for name in names}

    def hours_of(self, asset: str) -> set[str]:
        """The partitions of an asset that are materialised."""
        return self.instance.get_materialized_partitions(AssetKey(asset))

    def evaluate(self, asset: str, *checks: str) -> ExecuteInProcessResult:
        """Execute checks of an asset on their own, as the UI does; none named: all of them."""
        graph = defs.resolve_asset_graph()
        keys = {AssetCheckKey(AssetKey(asset), name) for name in checks}
        keys = keys or graph.get_check_keys_for_assets({AssetKey(asset)})
        job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection=keys)
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def checks(self, asset: str, name: str) -> dict[str | None, AssetCheckEvaluation]:
        """The newest result of a check, per partition."""
        history = self.instance.event_log_storage.get_asset_check_execution_history(
            AssetCheckKey(AssetKey(asset), name), limit=1000
        )
        evaluated = (record for record in reversed(history) if record.status in COMPLETED)
        return {record.partition: record.evaluation for record in evaluated if record.evaluation}

    def not_evaluated(self, asset: str) -> set[str]:
        """Checks of an asset that a run planned and never came to."""
        checks = defs.resolve_asset_graph().get_check_keys_for_assets({AssetKey(asset)})
        storage = self.instance.event_log_storage
        newest = storage.get_latest_asset_check_execution_by_key(list(checks))
        return {key.name for key, one in newest.items() if one.status not in COMPLETED}

    def tables(self) -> dict[str, list[str]]:
        """All rows of all data tables."""
        return self.bench.dump()


def _range(first: Hour, last: Hour) -> dict[str, str]:
    return {ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key}


def project_environment(**variables: str) -> dict[str, str]:
    """The variables of a process that works with this project and these settings, and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}
    return {**kept, "DAGSTER_HOME": str(project_root()), "DAGSTER_DISABLE_TELEMETRY": "1", **variables}


@contextmanager
def open_pipeline(database: Database, data_dir: Path, *hub_urls: str, **variables: str) -> Generator[Pipeline]:
    """A pipeline on this database, with more settings if need be; Dagster's own database there is created again first.

    The variables of this process say so too, as long as it is open.
    """
    environment = project_environment(
        FC_DATA_DIR=str(data_dir), FC_POSTGRES_URL=database.url, FC_HUB_URLS=",".join(hub_urls), **variables
    )
    before = dict(os.environ)
    _make_dagster_database(database)
    os.environ.clear()
    os.environ.update(environment)
    try:
        with (
            DagsterInstance.from_config(str(project_root())) as instance,
            open_replica(Settings.load(dotenv=None)) as replica,
        ):
            yield Pipeline(instance, Workbench(replica, FoldedDatabase(database.url, replica.engine)), environment)
    finally:
        os.environ.clear()
        os.environ.update(before)
        _give_back_dagster_database(database)


def _make_dagster_database(database: Database) -> None:
    """Anew, as a copy of one that Dagster has made its tables in: that takes it longer than most tests take."""
    with administering(database.url) as admin:
        if exists(admin, DAGSTER_DATABASE):
            _dagster_databases(database).give_back(admin, DAGSTER_DATABASE)
        _dagster_databases(database).take(admin, DAGSTER_DATABASE)


def _give_back_dagster_database(database: Database) -> None:
    with administering(database.url) as admin:
        _dagster_databases(database).give_back(admin, DAGSTER_DATABASE)


def _dagster_databases(database: Database) -> Copies:
    settings = settings_of(database.url)

    def fill(name: str) -> None:
        DagsterPostgresStorage(settings.sqlalchemy_url(name))  # keeps no connection

    return _copies.setdefault(settings.libpq_url("postgres"), Copies(settings, _DAGSTER_TEMPLATE, fill))


@contextmanager
def sample_hub() -> Generator[str]:
    """A hub that serves the committed sample, three hours of it; gives its URL."""
    with serving(load_log(project_root() / "data" / "sample" / "events.ndjson.gz")) as url:
        yield url


SAMPLE_HOURS = tuple(Hour.from_key(f"2026-11-01-{hour}:00") for hour in (10, 11, 12))


def failure(result: ExecuteInProcessResult) -> str:
    """All that the run says of why it failed."""
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    said: list[str] = []
    for error in errors:
        while error is not None:
            said.append(error.message)
            error = error.cause
    return "\n".join(said)
