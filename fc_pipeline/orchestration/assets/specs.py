"""What the Dagster UI shows of each asset: description, group, kinds, columns and dependencies."""

from collections.abc import Sequence
from datetime import timedelta

from dagster import (
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
from fc_pipeline.orchestration.assets.links import links_of
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline.tables.user_profiles import PROFILE_SOURCES, USER_PROFILES

__all__ = ["HOURLY_SPECS"]

OWNERS = ["team:fc_pipeline"]
FRESHNESS = FreshnessPolicy.time_window(fail_window=timedelta(minutes=5), warn_window=timedelta(minutes=2))
"""The run that follows the feed reports once a minute; one that takes over after a failure, within a minute."""


_STEP = "orchestration/assets/hourly.py"


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
            **links_of(RAW_LOG, step=_STEP, feed_reader="feed/drain.py", raw_log="lake/event_log.py"),
        },
    )


def _table_spec(table: DataTable, group: str, deps: Sequence[str], kinds: set[str]) -> AssetSpec:
    return AssetSpec(
        table.name,
        deps=[AssetDep(dep) for dep in deps],
        description=table.description,
        group_name=group,
        kinds=kinds,
        owners=OWNERS,
        skippable=True,
        freshness_policy=FRESHNESS,
        metadata={
            "dagster/column_schema": _column_schema(table),
            "dagster/table_name": table.qualified,
            **links_of(table.name, columns_and_rows=f"tables/{table.name}.py", step=_STEP),
        },
    )


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
            for column in table.columns
        ],
        constraints=TableConstraints(other=[f"primary key ({', '.join(table.key)})"]),
    )


HOURLY_SPECS: tuple[AssetSpec, ...] = (
    _raw_log_spec(),
    *(_table_spec(table, "message_sets", [RAW_LOG], {"postgres", "silver"}) for table in MESSAGE_TABLES.values()),
    _table_spec(USER_PROFILES, "profiles", PROFILE_SOURCES, {"postgres", "gold"}),
    _table_spec(FID_ACTIVITY, "activity", [RAW_LOG], {"postgres", "arrow", "gold"}),
)
"""The raw log and the tables derived from it, one spec each."""
