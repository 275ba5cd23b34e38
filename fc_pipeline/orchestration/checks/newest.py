"""The newest result of a check, as Dagster keeps it: one that is announced only says nothing yet."""

from dagster import AssetCheckEvaluation, AssetCheckKey, DagsterInstance
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
)

__all__ = ["newest_evaluated", "newest_evaluation"]


def newest_evaluated(instance: DagsterInstance, key: AssetCheckKey) -> AssetCheckExecutionRecord | None:
    """The record of the newest result."""
    found = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, status=set(COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES)
    )
    return found[0] if found else None


def newest_evaluation(instance: DagsterInstance, key: AssetCheckKey) -> AssetCheckEvaluation | None:
    """The newest result itself."""
    found = newest_evaluated(instance, key)
    return found.evaluation if found is not None else None
