"""What a run did in an hour → materialisation events with metadata, one per asset."""

import time
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
from dagster import AssetMaterialization, MetadataValue, TableColumn, TableRecord, TableSchema

from fc_pipeline.ingest import health
from fc_pipeline.ingest.progress import HourProgress, TableProgress
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.plain_text import plain
from fc_pipeline.tables.user_profiles import USER_PROFILES

__all__ = ["materializations"]

_CELL_CHARACTERS = 120
_DATA_VERSION_TAG = "dagster/data_version"


def materializations(
    replica: Replica, progress: HourProgress, outputs: Collection[str]
) -> Iterator[AssetMaterialization]:
    """One event per asset of the run, for one hour."""
    common = _common(progress)
    tags = {_DATA_VERSION_TAG: "_".join(f"{shard}-{last}" for shard, (_, last) in sorted(progress.heights.items()))}
    for output in outputs:
        own = _raw_log(replica, progress) if output == RAW_LOG else _table(replica, progress, output)
        yield AssetMaterialization(output, partition=progress.hour.key, metadata={**common, **own}, tags=tags)


def _common(progress: HourProgress) -> dict[str, Any]:
    lag_seconds = progress.lag_seconds(time.time())
    metadata: dict[str, Any] = {
        "events": progress.events,
        "bytes": progress.size_bytes,
        "micro_batches": progress.micro_batches,
        "quarantined": progress.quarantined,
        # Each event is in exactly one of these.
        "events_written": progress.events_written,
        "events_unchanged": progress.events_unchanged,
        "events_without_rows": progress.fates.without_rows,
        "events_filtered": progress.fates.filtered,
        "events_quarantined": progress.fates.set_aside,
        "events_unaccounted": progress.events_unaccounted,
        "rows_filtered": progress.rows_filtered,
        "naive_rows": progress.naive_rows,
        "message_rows_written": progress.message_rows_written,
        "rows_written": progress.rows_written,
        "postgres_seconds": round(progress.seconds, 3),
    }
    if lag_seconds:
        metadata["lag_seconds"] = round(max(lag_seconds.values()), 1)
    # A number of its own per shard: the UI plots numbers.
    for shard, lag in sorted(lag_seconds.items()):
        metadata[f"lag_seconds_shard_{shard}"] = round(lag, 1)
    for shard, (first, last) in sorted(progress.heights.items()):
        metadata[f"heights_shard_{shard}"] = f"{first}-{last}"
    return metadata


def _raw_log(replica: Replica, progress: HourProgress) -> dict[str, Any]:
    # The whole hour: `events` are only those that this run folded.
    events_of_hour = health.block_counts(replica, [progress.hour]).events
    return {"dagster/partition_row_count": events_of_hour, "parquet_bytes": progress.log_bytes}


def _table(replica: Replica, progress: HourProgress, name: str) -> dict[str, Any]:
    table = progress.tables.get(name, TableProgress())
    metadata: dict[str, Any] = {
        "rows_inserted": table.written.inserted,
        "rows_updated": table.written.updated,
        "rows_deleted": table.written.deleted,
        "rows_staged": table.staged_rows,
    }
    if table.sample is not None:
        rows = table.sample
        if name == USER_PROFILES.name:  # staged are the FIDs alone: Postgres derives the rest
            rows = health.profiles_of(replica, rows["fid"].to_pylist())
        if len(rows):
            metadata["sample"] = _sample(rows)
    return metadata


def _sample(rows: pa.Table) -> MetadataValue[Any]:
    """The first rows as a table for the UI: bytes as hex, long values cut."""
    records = [TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows.to_pylist()]
    return MetadataValue.table(records, TableSchema([TableColumn(name, "string") for name in rows.column_names]))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"[:_CELL_CHARACTERS]
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = plain(str(value))  # a user's name may hold letters that turn the whole row round
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"
