"""What the Dagster UI shows of each asset: description, group, kinds, columns and dependencies."""

from collections.abc import Sequence
from datetime import timedelta

from dagster import (
    AllPartitionMapping,
    AssetDep,
    AssetSpec,
    FreshnessPolicy,
    TableColumn,
    TableColumnConstraints,
    TableConstraints,
    TableSchema,
)

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.lake.event_log import EVENT_LOG_SCHEMA
from fc_pipeline.orchestration.assets.code_versions import code_version_of
from fc_pipeline.orchestration.assets.links import links_of
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.registry import DERIVED_TABLES, LISTED_TABLES, MESSAGE_TABLES

__all__ = ["HOURLY_SPECS", "OWNERS", "table_spec"]

OWNERS = ["team:fc_pipeline"]
FRESHNESS = FreshnessPolicy.time_window(fail_window=timedelta(minutes=5), warn_window=timedelta(minutes=2))
"""The run that follows the feed reports once a minute; one that takes over after a failure, within a minute."""


_STEP = "orchestration/assets/hourly.py:hourly_tables"


def _raw_log_spec() -> AssetSpec:
    columns = [
        TableColumn(field.name, str(field.type), description=(field.metadata or {})[b"description"].decode())
        for field in EVENT_LOG_SCHEMA
    ]
    return AssetSpec(
        RAW_LOG,
        description=(
            "The raw log: every event of the hub's feed, byte for byte, kept forever as Parquet by hour and shard. "
            "A hub forgets after three days; this does not. Everything else is made from it."
        ),
        group_name="raw_log",
        kinds={"farcaster", "parquet", "bronze"},
        owners=OWNERS,
        skippable=True,
        freshness_policy=FRESHNESS,
        metadata={
            "dagster/column_schema": TableSchema(columns=columns),
            "dagster/storage_kind": "parquet",
            **links_of(RAW_LOG, step=_STEP, feed_reader="feed/drain.py:Drain", raw_log="lake/event_log.py:EventLog"),
        },
    )


def table_spec(
    table: DataTable, deps: Sequence[str], kinds: set[str], step: str, freshness: FreshnessPolicy | None = None
) -> AssetSpec:
    """The spec of a table that a step makes of `deps`; where the step is declared is `step`, as in `links_of`."""
    return AssetSpec(
        table.name,
        deps=[_dep(dep) for dep in deps],
        description=table.description,
        group_name=table.group,
        kinds=kinds,
        owners=OWNERS,
        skippable=True,
        code_version=code_version_of(table),
        freshness_policy=freshness,
        metadata={
            "dagster/column_schema": _column_schema(table),
            "dagster/table_name": table.qualified,
            **links_of(table.name, columns_and_rows=f"tables/{table.name}.py:{table.name.upper()}", step=step),
        },
    )


def _dep(asset: str) -> AssetDep:
    """What users' buckets bring is of no hour."""
    mapping = AllPartitionMapping() if asset in LISTED_TABLES and asset not in MESSAGE_TABLES else None
    return AssetDep(asset, partition_mapping=mapping)


def _hourly(table: DataTable, deps: Sequence[str], kinds: set[str]) -> AssetSpec:
    return table_spec(table, deps, kinds, _STEP, FRESHNESS)


def _column_schema(table: DataTable) -> TableSchema:
    return TableSchema(
        columns=[
            TableColumn(
                column.name,
                column.type.postgres,
                description=column.description,
                constraints=TableColumnConstraints(nullable=column.nullable and column.name not in table.key),
                tags={"key": ""} if column.name in table.key else None,
            )
            for column in table.shown_columns
        ],
        constraints=TableConstraints(other=[f"primary key ({', '.join(table.key)})"]),
    )


HOURLY_SPECS: tuple[AssetSpec, ...] = (
    _raw_log_spec(),
    *(_hourly(table, [RAW_LOG], {"postgres", "silver"}) for table in MESSAGE_TABLES.values()),
    *(_hourly(one.table, one.sources, {"postgres", "gold"}) for one in DERIVED_TABLES),
    _hourly(FID_ACTIVITY, [RAW_LOG], {"postgres", "arrow", "gold"}),
)
"""The raw log and the tables derived from it, one spec each."""
