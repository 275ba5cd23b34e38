"""Does the replica move while the hub does? Judged by the run that follows, and by a sensor where no run does."""

import time
from collections.abc import Iterator, Sequence

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, asset_check

from fc_pipeline.errors import HubError
from fc_pipeline.hours import Hour
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.ingest.standstill import STILL_AFTER_SECONDS, ShardMotion, Standstill, look_for_standstill
from fc_pipeline.partitions import HOURS, hours_of_run
from fc_pipeline.resources import ReplicaResource

__all__ = ["STANDSTILL", "judge_standstill", "no_standstill", "result_of", "unasked"]

STANDSTILL = "no_standstill"


@asset_check(
    asset=RAW_LOG,
    name=STANDSTILL,
    description=f"No shard's cursor has stood still for more than {STILL_AFTER_SECONDS:.0f} s while the hub's head "
    "moved, and no shard of the hub is silent while another moves. Of the present hour: one that is over stands still.",
    partitions_def=HOURS,
)
def no_standstill(context: AssetCheckExecutionContext, replica: ReplicaResource) -> AssetCheckResult:
    """Judge it again; the run that follows does so every minute, `standstill_sensor` where none follows."""
    with replica.open() as opened:
        return next(judge_standstill(opened, hours_of_run(context)[-1:]))


def judge_standstill(replica: Replica, hours: Sequence[Hour]) -> Iterator[AssetCheckResult]:
    """A result per hour; the hub is asked only if one of them is not over."""
    now = time.time()
    present = None
    if any(hour.end_unix > now for hour in hours):
        try:
            present = result_of(look_for_standstill(replica))
        except HubError as error:
            present = unasked(error)
    for hour in hours:
        yield present if present is not None and hour.end_unix > now else _over()


def result_of(found: Standstill) -> AssetCheckResult:
    """What was found, as the result of the check."""
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=STANDSTILL,
        passed=not found.problems,
        description=" ".join([*found.problems, found.advice]),
        metadata={name: value for shard in found.shards for name, value in _numbers(shard, time.time()).items()},
    )


def unasked(error: HubError) -> AssetCheckResult:
    """Without a hub nobody knows whether its head moved."""
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=STANDSTILL,
        passed=False,
        severity=AssetCheckSeverity.WARN,
        description=f"no hub to compare with: {error}",
    )


def _over() -> AssetCheckResult:
    return AssetCheckResult(
        asset_key=RAW_LOG, check_name=STANDSTILL, passed=True, description="the hour is over: nothing in it moves"
    )


def _numbers(shard: ShardMotion, now: float) -> dict[str, float | int]:
    """What is known of a shard, under names that say which."""
    numbers: dict[str, float | int | None] = {
        "head_height": shard.head_height,
        "head_age_seconds": None if shard.head_unix is None else round(now - shard.head_unix, 1),
        "cursor_height": shard.cursor_height,
        "idle_seconds": None if shard.idle_seconds is None else round(shard.idle_seconds, 1),
    }
    return {f"{name}_shard_{shard.shard}": value for name, value in numbers.items() if value is not None}
