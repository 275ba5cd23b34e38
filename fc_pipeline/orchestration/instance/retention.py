"""Deletes Dagster's history of old runs, never at the cost of a partition's status.

Dagster has no retention of runs, and its own `delete_run` also deletes the run's materialisations, which turns
materialised partitions into missing ones. So rows are deleted by kind. The newest materialisation and check result of a
partition are kept for ever; a run that follows the feed repeats each every few seconds, 0.5 GB a day. Everything of a
run that has not ended is kept: a backfill of the whole network takes weeks, and its whole log is needed.
"""

import time
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
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

_ENDED: Final = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
_KEPT_EVENT_TYPES = (
    "ASSET_MATERIALIZATION",
    "ASSET_OBSERVATION",
    "ASSET_CHECK_EVALUATION",
    "ASSET_FAILED_TO_MATERIALIZE",
    "ASSET_WIPED",
    # The UI shows how a run ended.
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
    """Delete old rows of the instance's event log; returns how many.

    Log rows of runs that have ended go after `keep_days`; materialisations and check results of theirs to which the
    same partition has a newer one after `keep_repeated_days`. Raises ServiceError if the instance does not keep its
    events in Postgres.
    """
    storage = instance.event_log_storage
    storage = getattr(storage, "event_log_storage", storage)
    if not isinstance(storage, PostgresEventLogStorage):
        raise ServiceError(
            f"cannot purge runs kept in {type(storage).__name__}",
            hint="point DAGSTER_HOME at this project's dagster.yaml",
        )
    at_work = instance.get_run_ids(RunsFilter(statuses=[one for one in DagsterRunStatus if one not in _ENDED]))
    with storage.index_connection() as connection:
        return (
            _purge_log_rows(connection, keep_days, at_work)
            + _purge_repeated_materializations(connection, keep_repeated_days, at_work)
            + _purge_repeated_check_results(connection, keep_repeated_days, at_work)
        )


def _is_of_ended(run_id: sa.ColumnElement[str], at_work: Collection[str]) -> sa.ColumnElement[bool]:
    """Whether a row belongs to no unfinished run; results without a run have no id."""
    return sa.func.coalesce(run_id, "").not_in(at_work)


def _days_ago(days: float) -> sa.ColumnElement[object]:
    return sa.func.to_timestamp(time.time() - days * 86_400).op("AT TIME ZONE")("UTC")


def _purge_log_rows(connection: sa.Connection, keep_days: float, at_work: Collection[str]) -> int:
    rows = SqlEventLogStorageTable
    kind = rows.c.dagster_event_type
    old = rows.c.timestamp < _days_ago(keep_days)
    return connection.execute(
        sa.delete(rows).where(
            old, _is_of_ended(rows.c.run_id, at_work), sa.or_(kind.is_(None), kind.not_in(_KEPT_EVENT_TYPES))
        )
    ).rowcount


def _purge_repeated_materializations(connection: sa.Connection, keep_days: float, at_work: Collection[str]) -> int:
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
            _is_of_ended(rows.c.run_id, at_work),
            rows.c.id.not_in(newest),
        )
    ).rowcount
    tags = AssetEventTagsTable
    gone = ~sa.exists().where(rows.c.id == tags.c.event_id)
    connection.execute(sa.delete(tags).where(tags.c.event_timestamp < _days_ago(keep_days), gone))
    return purged


def _purge_repeated_check_results(connection: sa.Connection, keep_days: float, at_work: Collection[str]) -> int:
    """The check's own table has one row per run and partition; the event log has every evaluation."""
    lines, rows = AssetCheckExecutionsTable, SqlEventLogStorageTable
    newest = sa.select(sa.func.max(lines.c.id)).group_by(lines.c.asset_key, lines.c.check_name, lines.c.partition)
    connection.execute(
        sa.delete(lines).where(
            lines.c.evaluation_event_timestamp < _days_ago(keep_days),
            _is_of_ended(lines.c.run_id, at_work),
            lines.c.id.not_in(newest),
        )
    )
    shown = sa.select(lines.c.evaluation_event_storage_id).where(lines.c.evaluation_event_storage_id.is_not(None))
    return connection.execute(
        sa.delete(rows).where(
            rows.c.dagster_event_type == "ASSET_CHECK_EVALUATION",
            rows.c.timestamp < _days_ago(keep_days),
            _is_of_ended(rows.c.run_id, at_work),
            rows.c.id.not_in(shown),
        )
    ).rowcount
