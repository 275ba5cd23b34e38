"""Deletes Dagster's history of old runs, never at the cost of a partition's status.

Dagster has no retention of runs, and its own `delete_run` takes the run's materialisations along, which turns green
partitions missing again. So rows are deleted by what they are.
"""

import time

import sqlalchemy as sa
from dagster import DagsterInstance
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster_postgres.event_log import PostgresEventLogStorage

from fc_pipeline.errors import ServiceError

__all__ = ["KEEP_RUN_LOGS_DAYS", "purge_run_history"]

KEEP_RUN_LOGS_DAYS = 7

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


def purge_run_history(instance: DagsterInstance, *, keep_days: float = KEEP_RUN_LOGS_DAYS) -> int:
    """Delete log rows older than `keep_days` of the instance's event log; gives how many.

    Raises ServiceError if the instance does not keep its events in Postgres.
    """
    storage = instance.event_log_storage
    storage = getattr(storage, "event_log_storage", storage)
    if not isinstance(storage, PostgresEventLogStorage):
        raise ServiceError(
            f"cannot purge runs kept in {type(storage).__name__}",
            hint="point DAGSTER_HOME at this project's dagster.yaml",
        )
    rows = SqlEventLogStorageTable
    kind = rows.c.dagster_event_type
    old = rows.c.timestamp < sa.func.to_timestamp(time.time() - keep_days * 86_400).op("AT TIME ZONE")("UTC")
    statement = sa.delete(rows).where(old, sa.or_(kind.is_(None), kind.not_in(_KEPT_EVENT_TYPES)))
    with storage.index_connection() as connection:
        return connection.execute(statement).rowcount
