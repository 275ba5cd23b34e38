"""The sensor that reports closed hours: each once, and once more after a repair."""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterInstance,
    DefaultSensorStatus,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.assets.closed_hours import CLOSED_HOURS, closing_of
from fc_pipeline.orchestration.checks.of_hours import HourFindings
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.status.closed_hours import complete_hours
from fc_pipeline.store.hour_totals import totals_of_hour

__all__ = ["closed_hours_sensor"]

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 30
TICK_DEADLINE_SECONDS: Final = 30.0
MAX_REPORTS: Final = 50
"""Of one tick: it stores each by itself, and Dagster allows it 60 s. The next one goes on."""
_PAGE: Final = 1000


class _Cursor(msgspec.Struct):
    """What the sensor's page shows: up to where it has read repairs in Dagster's event log, and which are left."""

    read_up_to: int = 0
    repaired: dict[str, int] = {}
    """The log's number of the newest repair of an hour."""


@sensor(
    name="closed_hours_sensor",
    minimum_interval_seconds=POLL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Materialises hours of closed_hours, without a run: those that are over, whole in all shards and green "
    "in all checks, once each and once more after a repair. Its cursor lists repaired hours that wait for that.",
)
@failing_tick()
def closed_hours_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> SensorResult:
    """One tick: some reports, oldest hour first, or what the next hour waits for."""
    deadline = time.monotonic() + TICK_DEADLINE_SECONDS
    asset = replica.names.key(CLOSED_HOURS)
    cursor = _with_repairs(context.instance, asset, _parsed(context.cursor))
    reported = context.instance.get_materialized_partitions(asset)
    with replica.open(need_hub=False) as opened:
        due = sorted(complete_hours(opened, known=reported - cursor.repaired.keys()))
        closings: list[AssetMaterialization] = []
        reasons: list[str] = []
        for closing in _closings(HourFindings(context.instance, opened, replica.names) if due else None, opened, due):
            if isinstance(closing, AssetMaterialization):
                closings.append(closing)
                cursor.repaired.pop(closing.partition or "", None)
            else:
                reasons.append(closing)
            if len(closings) >= MAX_REPORTS or time.monotonic() > deadline:
                break
    waiting = f"; {reasons[0]}" if reasons else ""
    return SensorResult(
        asset_events=replica.names.events(closings),
        skip_reason=SkipReason(f"{len(closings)} hours reported as closed, {len(due) - len(closings)} wait{waiting}"),
        cursor=msgspec.json.encode(cursor).decode(),
    )


def _closings(findings: HourFindings | None, replica: Replica, due: list[Hour]) -> Iterator[AssetMaterialization | str]:
    """The report of each hour, or why there is none yet."""
    for hour in due:
        red = findings.reason(hour) if findings is not None else None
        if red is not None:
            yield f"{hour.key} waits for {red}"
            continue
        with replica.engine.connect() as connection:
            totals = totals_of_hour(connection, hour.key)
        yield closing_of(hour, totals)


def _with_repairs(instance: DagsterInstance, asset: AssetKey, cursor: _Cursor) -> _Cursor:
    """The cursor with the repairs noted since: those after which the hour was not reported again."""
    wanted = AssetRecordsFilter(asset, after_storage_id=cursor.read_up_to)
    records = instance.fetch_observations(wanted, limit=_PAGE, ascending=True).records
    newest: Mapping[str, int] = {record.partition_key: record.storage_id for record in records if record.partition_key}
    repaired = {**cursor.repaired, **{key: at for key, at in newest.items() if _reported_at(instance, asset, key) < at}}
    return _Cursor(records[-1].storage_id if records else cursor.read_up_to, repaired)


def _reported_at(instance: DagsterInstance, asset: AssetKey, partition: str) -> int:
    wanted = AssetRecordsFilter(asset, asset_partitions=[partition])
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].storage_id if records else 0


def _parsed(cursor: str | None) -> _Cursor:
    try:
        return msgspec.json.decode(cursor, type=_Cursor) if cursor else _Cursor()
    except msgspec.MsgspecError as error:  # a user edited it: every repair is looked at again
        _log.warning("cursor_unreadable reason=%r", str(error))
        return _Cursor()
