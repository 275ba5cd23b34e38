"""The asset `closed_hours`: what other people's models hang on.

An hourly table is reported again and again while its hour is written; this is reported once per hour, when the hour is
over, whole and green, and once more after each repair. `sensors/closed_hours.py` does it, without a run.
"""

import time
from typing import Any, Final

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    AssetSpec,
    DagsterInstance,
    MetadataValue,
    OpExecutionContext,
    TableColumn,
    TableRecord,
    TableSchema,
)

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.assets.links import links_of
from fc_pipeline.orchestration.assets.provenance import DATA_VERSION_TAG
from fc_pipeline.orchestration.assets.specs import OWNERS
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.partitions import HOURS
from fc_pipeline.store.hour_totals import HourTotals
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["CLOSED_HOURS", "CLOSED_HOURS_SPEC", "closing_of", "note_repair"]

CLOSED_HOURS: Final = "closed_hours"

CLOSED_HOURS_SPEC: Final = AssetSpec(
    CLOSED_HOURS,
    deps=[AssetDep(name) for name in (RAW_LOG, *DATA_TABLES)],
    description=(
        "Hours that are over: every shard has all their blocks, in all tables, and no check is red for them. Each is "
        "materialised once, and once more after a repair that changed its rows. Hang models on this rather than on a "
        "table, which is materialised every minute while its hour is written."
    ),
    group_name="hub",
    kinds={"farcaster", "postgres"},
    owners=OWNERS,
    partitions_def=HOURS,
    metadata=links_of(
        CLOSED_HOURS,
        reported_by="orchestration/sensors/closed_hours.py:closed_hours_sensor",
        rule="status/closed_hours.py:complete_hours",
    ),
)


def closing_of(hour: Hour, totals: HourTotals) -> AssetMaterialization:
    """The report of a closed hour: its events, and the rows that folding it wrote to each table."""
    rows = totals.rows or {}
    metadata: dict[str, Any] = {
        "events": totals.events,
        **{f"heights_shard_{shard}": f"{first}-{last}" for shard, (first, last) in sorted(totals.heights.items())},
        "dagster/partition_row_count": sum(one.rows for one in rows.values()),
        **{f"rows_{table}": one.rows for table, one in sorted(rows.items())},
        "tables": MetadataValue.table(
            [
                TableRecord({"table": name, "inserted": one.inserted, "updated": one.updated, "deleted": one.deleted})
                for name, one in sorted(rows.items())
            ],
            TableSchema(
                [TableColumn("table", "string"), *(TableColumn(n, "int") for n in ("inserted", "updated", "deleted"))]
            ),
        ),
    }
    # Every report is of other rows than the one before: what was made of those is out of date.
    version = "_".join([*(f"{s}-{last}" for s, (_, last) in sorted(totals.heights.items())), str(time.time_ns())])
    return AssetMaterialization(CLOSED_HOURS, partition=hour.key, metadata=metadata, tags={DATA_VERSION_TAG: version})


def note_repair(
    context: AssetExecutionContext | OpExecutionContext, names: Names, hour: Hour, rows_written: int
) -> None:
    """Log that a run changed rows of an hour that was reported, so that it is reported once more."""
    if _is_reported(context.instance, names, hour):
        context.log_event(
            AssetObservation(
                names.key(CLOSED_HOURS),
                partition=hour.key,
                description="Repaired: it is materialised once more when its checks are green",
                metadata={"run_rows_written": rows_written},
            )
        )


def _is_reported(instance: DagsterInstance, names: Names, hour: Hour) -> bool:
    wanted = AssetRecordsFilter(names.key(CLOSED_HOURS), asset_partitions=[hour.key])
    return bool(instance.fetch_materializations(wanted, limit=1).records)
