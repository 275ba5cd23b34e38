"""Deletes Dagster's history of old runs, never at the cost of a partition's status.

Dagster has no retention of runs, and its own `delete_run` takes the run's materialisations along, which turns green
partitions missing again. So rows are deleted by what they are. Of a partition's materialisations and check results the
newest stays for ever; a run that follows the feed repeats each every few seconds, 0.5 GB a day.
"""

import time

import sqlalchemy as sa
from dagster import DagsterInstance
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster_postgres.event_log import PostgresEventLogStorage

from fc_pipeline.errors import ServiceError

__all__ = ["KEEP_REPEATED_DAYS", "KEEP_RUN_LOGS_DAYS", "purge_run_history"]

KEEP_RUN_LOGS_DAYS = 7
KEEP_REPEATED_DAYS = 1

_KEPT_EVENT_TYPES = (
    "ASSET_MATERIALIZATION",
    "ASSET_OBSERVATION",
    "ASSET_CHECK_EVALUATION",
    "ASSET_FAILED_TO_MATERIALIZE",
    "ASSET_WIPED",
    # How a run ended is what the UI shows of it.
    "PIPELINE_SUCCESS",
    "PIPELINE_FAILURE",
    "PIPELINE_CANCELED",
)


def purge_run_history(
    instance: DagsterInstance,
    *,
    keep_days: float = KEEP_RUN_LOGS_DAYS,
    keep_repeated_days: float = KEEP_REPEATED_DAYS,
) -> int:
    """Delete old rows of the instance's event log; gives how many.

    Log rows go after `keep_days`; materialisations and check results to which the same partition has a newer one after
    `keep_repeated_days`. Raises ServiceError if the instance does not keep its events in Postgres.
    """
    storage = instance.event_log_storage
    storage = getattr(storage, "event_log_storage", storage)
    if not isinstance(storage, PostgresEventLogStorage):
        raise ServiceError(
            f"cannot purge runs kept in {type(storage).__name__}",
            hint="point DAGSTER_HOME at this project's dagster.yaml",
        )
    with storage.index_connection() as connection:
        return (
            _purge_log_rows(connection, keep_days)
            + _purge_repeated_materializations(connection, keep_repeated_days)
            + _purge_repeated_check_results(connection, keep_repeated_days)
        )


def _days_ago(days: float) -> sa.ColumnElement[object]:
    return sa.func.to_timestamp(time.time() - days * 86_400).op("AT TIME ZONE")("UTC")


def _purge_log_rows(connection: sa.Connection, keep_days: float) -> int:
    rows = SqlEventLogStorageTable
    kind = rows.c.dagster_event_type
    old = rows.c.timestamp < _days_ago(keep_days)
    return connection.execute(
        sa.delete(rows).where(old, sa.or_(kind.is_(None), kind.not_in(_KEPT_EVENT_TYPES)))
    ).rowcount


def _purge_repeated_materializations(connection: sa.Connection, keep_days: float) -> int:
    rows = SqlEventLogStorageTable
    newest = (
        sa.select(sa.func.max(rows.c.id))
        .where(rows.c.dagster_event_type == "ASSET_MATERIALIZATION")
        .group_by(rows.c.asset_key, rows.c.partition)
    )
    purged = connection.execute(
        sa.delete(rows).where(
            rows.c.dagster_event_type == "ASSET_MATERIALIZATION",
            rows.c.timestamp < _days_ago(keep_days),
            rows.c.id.not_in(newest),
        )
    ).rowcount
    tags = AssetEventTagsTable
    gone = ~sa.exists().where(rows.c.id == tags.c.event_id)
    connection.execute(sa.delete(tags).where(tags.c.event_timestamp < _days_ago(keep_days), gone))
    return purged


def _purge_repeated_check_results(connection: sa.Connection, keep_days: float) -> int:
    """The check's own table keeps one line per run and partition; the event log every evaluation."""
    lines, rows = AssetCheckExecutionsTable, SqlEventLogStorageTable
    newest = sa.select(sa.func.max(lines.c.id)).group_by(lines.c.asset_key, lines.c.check_name, lines.c.partition)
    connection.execute(
        sa.delete(lines).where(lines.c.evaluation_event_timestamp < _days_ago(keep_days), lines.c.id.not_in(newest))
    )
    shown = sa.select(lines.c.evaluation_event_storage_id).where(lines.c.evaluation_event_storage_id.is_not(None))
    return connection.execute(
        sa.delete(rows).where(
            rows.c.dagster_event_type == "ASSET_CHECK_EVALUATION",
            rows.c.timestamp < _days_ago(keep_days),
            rows.c.id.not_in(shown),
        )
    ).rowcount
