"""The sensor that watches whether the replica progresses while no run does."""

import time
from datetime import UTC, datetime

import msgspec
from dagster import (
    AssetCheckResult,
    DefaultSensorStatus,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from fc_pipeline.errors import HubError
from fc_pipeline.orchestration.checks.evaluation import evaluation_of
from fc_pipeline.orchestration.checks.stall import STALL, result_of
from fc_pipeline.orchestration.checks.wording import without_hub
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.status.stall import detect_stall, is_being_followed

__all__ = ["stall_sensor"]

POLL_SECONDS = 30
GAP_SECONDS = 120.0
"""Ticks farther apart than this: the daemon was off, and the watch starts over."""


@sensor(
    name="standstill_sensor",
    minimum_interval_seconds=POLL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Evaluates hub_events' check no_standstill where no run follows the feed, which would do so itself. "
    "Launches nothing. Its cursor says since when it has been watching.",
)
@failing_tick()
def stall_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> SensorResult:
    """One tick: a check result without a run, or none while a run commits."""
    now = time.time()
    since = watching_since(context.cursor, now)
    cursor = cursor_of(since, now)
    with replica.open() as opened:
        if is_being_followed(opened):
            reason = SkipReason("micro-batches are being committed: the run that does it evaluates the hour")
            return SensorResult(skip_reason=reason, cursor=cursor)
        try:
            found = detect_stall(opened, watched_seconds=now - since)
        except HubError as error:
            return _report(replica.names, without_hub(STALL, error), cursor)
    return _report(replica.names, result_of(found), cursor)


def _report(names: Names, result: AssetCheckResult, cursor: str) -> SensorResult:
    """A result of the check without a run; the tick repeats it."""
    events = [evaluation_of(result, names)]
    return SensorResult(asset_events=events, skip_reason=SkipReason(result.description), cursor=cursor)


class _Watch(msgspec.Struct):
    """What the sensor's page shows as its cursor."""

    watching_since: datetime
    looked_at: datetime


def cursor_of(since: float, now: float) -> str:
    """The cursor for the next tick, from unix seconds; whole seconds are enough."""
    return msgspec.json.encode(_Watch(*(datetime.fromtimestamp(int(unix), UTC) for unix in (since, now)))).decode()


def watching_since(cursor: str | None, now: float) -> float:
    """Since when (unix seconds) the sensor has ticked without a gap, by the cursor of its last tick."""
    try:
        found = msgspec.json.decode(cursor or "", type=_Watch)
    except msgspec.MsgspecError:  # the first tick, or a user edited it: the watch starts
        return now
    since, last = found.watching_since.timestamp(), found.looked_at.timestamp()
    return since if since <= last <= now <= last + GAP_SECONDS else now
