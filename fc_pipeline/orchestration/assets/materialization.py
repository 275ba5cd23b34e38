"""The state of an hour, and what a run did in it → materialisation events with metadata, one per asset.

Plain keys describe the hour so far, by the ledger; keys that begin with `run_` describe the reporting run.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
from dagster import AssetMaterialization, MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from fc_pipeline.feed.progress import SAMPLE_ROWS, HourProgress, TableProgress
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.assets.provenance import DATA_VERSION_TAG
from fc_pipeline.plain_text import plain
from fc_pipeline.replica import Replica
from fc_pipeline.status import health
from fc_pipeline.status.row_counts import live_rows
from fc_pipeline.store import coverage
from fc_pipeline.store.hour_totals import HourTotals, RowTotals, totals_of_hour
from fc_pipeline.store.query import query_of
from fc_pipeline.tables.registry import DATA_TABLES, DERIVED_TABLES, MESSAGE_TABLES

__all__ = ["SAMPLE", "materializations"]

SAMPLE: Final = "sample"
_DERIVED: Final = {one.name: one.table for one in DERIVED_TABLES}
_CELL_CHARACTERS = 120
_FOR_MACHINES: Final = ("version", "deleted_at", "deleted_reason")
"""Columns that come last in every sample, as do hashes, keys and signatures."""


def materializations(
    replica: Replica,
    progress: HourProgress,
    outputs: Collection[str],
    earlier_sample: Callable[[str, str], TableMetadataValue | None] = lambda asset, partition: None,
) -> Iterator[AssetMaterialization]:
    """One event per asset of the run, for one hour.

    `earlier_sample` gives, by asset and partition key, the last reported sample, for a run that wrote nothing to a
    table.
    """
    with replica.engine.connect() as connection:
        totals = totals_of_hour(connection, progress.hour.key)
        all_events, _ = coverage.event_totals(query_of(connection))
        rows = {name: live_rows(connection, DATA_TABLES[name]) for name in outputs if name in DATA_TABLES}
    lag = _lag(progress, totals)
    last_heights = {shard: last for shard, (_, last) in sorted(totals.heights.items())}
    tags = {DATA_VERSION_TAG: "_".join(f"{shard}-{last}" for shard, last in last_heights.items())}
    for output in outputs:
        if output == RAW_LOG:
            own = {"dagster/row_count": all_events, **_raw_log(replica, progress, totals)}
        else:
            own = {"dagster/row_count": rows[output], **_table(progress, totals, output)}
            own |= _sample(replica, progress, output, earlier_sample)
        yield AssetMaterialization(output, partition=progress.hour.key, metadata={**own, **lag}, tags=tags)


def _lag(progress: HourProgress, totals: HourTotals) -> dict[str, float]:
    """Age of the newest folded block: now while the hour is written, else when it was committed."""
    now = time.time()
    is_over = progress.hour.end_unix <= now
    seen = {shard: totals.committed_unix[shard] if is_over else now for shard in totals.last_block_unix}
    lag = {shard: round(max(0.0, seen[shard] - unix), 1) for shard, unix in sorted(totals.last_block_unix.items())}
    if not lag:
        return {}
    # One number per shard, because the UI plots numbers.
    return {"lag_seconds": max(lag.values()), **{f"lag_seconds_shard_{shard}": one for shard, one in lag.items()}}


def _raw_log(replica: Replica, progress: HourProgress, totals: HourTotals) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": totals.events,
        "events": totals.events,
        **_outcome(totals),
        "parquet_bytes": sum(file.size_bytes for file in replica.log.files(progress.hour)),
        **{f"heights_shard_{shard}": f"{first}-{last}" for shard, (first, last) in sorted(totals.heights.items())},
        **_of_run(progress),
    }


def _outcome(totals: HourTotals) -> dict[str, Any]:
    if totals.outcome is None or totals.rows is None:  # an earlier release folded some of the hour
        return {}
    outcome = totals.outcome
    return {
        # Each event is in exactly one of these.
        "events_written": outcome.written,
        "events_unchanged": outcome.unchanged,
        "events_without_rows": outcome.without_rows,
        "events_filtered": outcome.filtered,
        "events_quarantined": outcome.quarantined,
        "events_unaccounted": totals.events - outcome.accounted,
        "bytes": outcome.size_bytes,
        "micro_batches": outcome.micro_batches,
        "quarantined": outcome.records_quarantined,
        "rows_filtered": outcome.rows_filtered,
        "naive_rows": outcome.naive_rows,
        "message_rows_written": sum(rows.rows for name, rows in totals.rows.items() if name in MESSAGE_TABLES),
        "rows_written": sum(rows.rows for rows in totals.rows.values()),
        "postgres_seconds": round(outcome.postgres_seconds, 3),
    }


def _of_run(progress: HourProgress) -> dict[str, Any]:
    return {
        "run_events": progress.events,
        "run_events_written": progress.events_written,
        "run_events_unchanged": progress.events_unchanged,
        "run_events_without_rows": progress.outcomes.without_rows,
        "run_events_filtered": progress.outcomes.filtered,
        "run_events_quarantined": progress.outcomes.quarantined,
        "run_bytes": progress.size_bytes,
        "run_micro_batches": progress.micro_batches,
        "run_naive_rows": progress.naive_rows,
        "run_message_rows_written": progress.message_rows_written,
        "run_rows_written": progress.rows_written,
        "run_postgres_seconds": round(progress.ledger_seconds, 3),
    }


def _table(progress: HourProgress, totals: HourTotals, name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if totals.rows is not None:
        rows = totals.rows.get(name, RowTotals())
        metadata = {"rows_inserted": rows.inserted, "rows_updated": rows.updated, "rows_deleted": rows.deleted}
    run = progress.tables.get(name, TableProgress()).written
    return {
        **metadata,
        "run_rows_inserted": run.inserted,
        "run_rows_updated": run.updated,
        "run_rows_deleted": run.deleted,
    }


def _sample(
    replica: Replica,
    progress: HourProgress,
    name: str,
    earlier_sample: Callable[[str, str], TableMetadataValue | None],
) -> Mapping[str, MetadataValue[Any]]:
    table = progress.tables.get(name, TableProgress())
    rows = table.sample
    if name in _DERIVED and table.written.rows:  # nothing of it is staged: Postgres derives it
        rows = health.rows_of_heights(replica, _DERIVED[name], progress.heights, limit=SAMPLE_ROWS)
    if rows is None or not len(rows):
        earlier = earlier_sample(name, progress.hour.key)
        return {} if earlier is None else {SAMPLE: earlier}
    return {SAMPLE: _as_table(rows)}


def _as_table(rows: pa.Table) -> MetadataValue[Any]:
    """The rows as a table for the UI: the most readable columns first, bytes as hex, long values cut."""
    names = sorted(rows.column_names, key=lambda name: _is_for_machines(name, rows.schema.field(name).type))
    records = [TableRecord({name: _cell(row[name]) for name in names}) for row in rows.to_pylist()]
    return MetadataValue.table(records, TableSchema([TableColumn(name, "string") for name in names]))


def _is_for_machines(name: str, kind: pa.DataType) -> bool:
    return name in _FOR_MACHINES or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"0x{value.hex()}"[:_CELL_CHARACTERS]
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = plain(str(value))  # a user's name may hold right-to-left characters
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"
