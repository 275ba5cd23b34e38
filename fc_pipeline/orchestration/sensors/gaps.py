"""The sensor that launches gap healing: one run at a time while any gap is open, with exponential backoff."""

import json
import time

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from fc_pipeline.orchestration.checks.evaluation import evaluation_of
from fc_pipeline.orchestration.checks.gaps import evaluate_gaps
from fc_pipeline.orchestration.checks.wording import heights_of
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.healing_job import GAPS_TAG, HEAL_GAPS
from fc_pipeline.orchestration.loading import reason_while_loading
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import is_in_flight
from fc_pipeline.orchestration.sensors.attempts import Attempt
from fc_pipeline.replica import Replica
from fc_pipeline.status import health
from fc_pipeline.store import gaps
from fc_pipeline.store.gaps import FAILED_HOUR, Gap

__all__ = ["gap_sensor"]

POLL_SECONDS = 15
MAX_COUNTED_ATTEMPTS = 10


@sensor(
    job=HEAL_GAPS,
    name="gap_sensor",
    minimum_interval_seconds=POLL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Launches the run that heals the gaps in pipeline.gaps by snapshots, one at a time. Says what is open "
    "through hub_events' check no_open_gaps whenever that has changed; its cursor lists what it said, [] when "
    "nothing is open.",
)
@failing_tick()
def gap_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> SensorResult | SkipReason:
    """One tick: the open gaps; the run queries the hub, not the tick."""
    with replica.open(need_hub=False) as opened:
        found = health.open_gaps(opened)
        cursor = json.dumps([f"shard {gap.shard}: {heights_of(gap.heights.first, gap.heights.last)}" for gap in found])
        evaluations = (
            [] if cursor == (context.cursor or "[]") else [evaluation_of(evaluate_gaps(opened), replica.names)]
        )
        # An hour that fails may still be read: while the hub has it, hub_event_sensor retries it.
        lost = [gap for gap in found if gap.reason != FAILED_HOUR]
        reason = reason_while_loading(opened) or _reason_to_wait(
            context.instance, replica.names.of(HEAL_GAPS.name), opened, lost, time.time()
        )
    if reason is not None:
        return SensorResult(skip_reason=SkipReason(reason), asset_events=evaluations, cursor=cursor)
    return SensorResult(run_requests=[RunRequest(tags={GAPS_TAG: "true"})], asset_events=evaluations, cursor=cursor)


def _reason_to_wait(instance: DagsterInstance, job: str, replica: Replica, found: list[Gap], now: float) -> str | None:
    """Why no run is launched; None if one is."""
    if not found:
        return "no gap is open that snapshots would heal"
    with replica.engine.connect() as connection:
        if gaps.is_being_healed(connection):
            return "a run is healing"
    newest = instance.get_run_records(RunsFilter(job_name=job, tags={GAPS_TAG: "true"}), limit=MAX_COUNTED_ATTEMPTS)
    if any(is_in_flight(record, now) for record in newest):
        return "a run that will heal is on its way"
    # A run that ended after all open gaps were found has not healed them.
    found_unix = max(gap.found_at.timestamp() for gap in found)
    ends = [record.end_time for record in newest if record.end_time is not None and record.end_time > found_unix]
    if ends and not Attempt(len(ends), max(ends)).is_due(now):
        return f"{len(found)} gaps stayed open after {len(ends)} runs: waiting before the next attempt"
    return None
