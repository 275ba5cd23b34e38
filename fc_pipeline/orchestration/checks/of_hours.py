"""Which hours are red: what the checks, each of which is of an asset as a whole, say of single hours."""

from collections.abc import Mapping, Sequence

from dagster import AssetCheckKey, DagsterInstance, TableMetadataValue
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as _EVALUATED,
)

from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.checks.keys import UNIQUE_KEYS
from fc_pipeline.orchestration.checks.quarantined import MAX_QUARANTINED_SHARE, QUARANTINE_SHARE
from fc_pipeline.orchestration.checks.raw_log import BLOCK_EVENTS, FILES
from fc_pipeline.orchestration.checks.rows import ROWS_MATCH_LOG
from fc_pipeline.orchestration.checks.volume import VOLUME
from fc_pipeline.orchestration.names import Names
from fc_pipeline.replica import Replica
from fc_pipeline.status import by_hour, health
from fc_pipeline.status.usual import Level
from fc_pipeline.status.volume import compare_volume
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["HourFindings"]


class HourFindings:
    """What is wrong with hours now. Ledger, quarantine and lake are asked; of the tables, the newest results hold.

    Nothing is said here of blocks that are missing: `status.closed_hours` has that.
    """

    def __init__(self, instance: DagsterInstance, replica: Replica, names: Names) -> None:
        self._replica = replica
        different, _, _ = by_hour.event_counts(replica)
        self._red = {one.hour: BLOCK_EVENTS for one in different if one.events > one.confirmed_events}
        shares = by_hour.quarantine_by_hour(replica)
        self._red |= {one.hour: QUARANTINE_SHARE for one in shares if one.share > MAX_QUARANTINED_SHARE}
        unusual = compare_volume(replica).unusual  # of the newest hours: one is held back while it is judged
        self._red |= {one.hour.key: VOLUME for one in unusual if one.level is Level.HALVED}
        self._whole_table: str | None = None
        self._compared_up_to: str | None = None
        self._read_results(instance, names)

    def reason(self, hour: Hour) -> str | None:
        """The check that is red for the hour, or was not evaluated since the hour is over; None if all are green."""
        if self._whole_table is not None:
            return self._whole_table
        if hour.key in self._red:
            return self._red[hour.key]
        if self._compared_up_to is None or self._compared_up_to < hour.key:
            return f"{ROWS_MATCH_LOG}, which has not come to it yet"
        return FILES if health.lost_of(self._replica, [hour], reading=False) else None

    def _read_results(self, instance: DagsterInstance, names: Names) -> None:
        """The newest result of each table: hours that it names are red, and without any nothing is known."""
        compared: list[str] = []
        for table in DATA_TABLES:
            for name in (UNIQUE_KEYS, ROWS_MATCH_LOG):
                found = instance.event_log_storage.get_asset_check_execution_history(
                    AssetCheckKey(names.key(table), name), limit=1, status=set(_EVALUATED)
                )
                evaluation = found[0].evaluation if found else None
                if evaluation is None:
                    self._whole_table = f"{name} of {table}, which was not evaluated yet"
                    return
                if name == UNIQUE_KEYS:
                    if not evaluation.passed:
                        self._whole_table = f"{name} of {table}"
                    continue
                if not evaluation.passed:
                    self._red |= dict.fromkeys(_named_hours(evaluation.metadata), f"{name} of {table}")
                compared.append(str(evaluation.metadata["newest_hour"].value))
        hours = [key for key in compared if key != "none"]
        self._compared_up_to = min(hours) if len(hours) == len(compared) else None


def _named_hours(metadata: Mapping[str, object]) -> Sequence[str]:
    table = metadata["hours"]
    return [str(one.data["hour"]) for one in table.records] if isinstance(table, TableMetadataValue) else ()
