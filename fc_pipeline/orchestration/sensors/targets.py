"""The sensor that launches the completion of new targets: one run at a time; failing ones with backoff."""

import time
from itertools import takewhile

from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    schedule,
    sensor,
)

from fc_pipeline.orchestration.assets.targets import ALL_USERS
from fc_pipeline.orchestration.checks.targets import TARGETS_ASSET
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.jobs import TARGET_SET_JOB
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import is_in_flight, runs_unfinished
from fc_pipeline.orchestration.sensors.attempts import Attempt
from fc_pipeline.orchestration.target_sync_job import SYNC_TARGETS, TARGETS_TAG
from fc_pipeline.repair.targets import is_anything_due, is_anything_new
from fc_pipeline.replica import Replica
from fc_pipeline.targets import coherence, directory
from fc_pipeline.targets.completing import is_being_completed

__all__ = ["hourly_targets", "target_sensor"]

POLL_SECONDS = 1  # Dagster ticks every five
MAX_COUNTED_ATTEMPTS = 10


@sensor(
    job=SYNC_TARGETS,
    name="target_sensor",
    minimum_interval_seconds=POLL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="With FC_TARGETS=set: launches the run that completes new targets' histories and settles former ones, "
    "one at a time; failing ones later and later. Has Redis hold what Postgres does, should it have been emptied.",
)
@failing_tick()
def target_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> RunRequest | SensorResult | SkipReason:
    """One tick: what is due; the run queries the hub, not the tick."""
    with replica.open(need_hub=False) as opened:
        if opened.targets is None:
            return _skip_without_set(context, replica.names.key(TARGETS_ASSET))
        coherence.repair_at_start(opened.engine, opened.settings.redis_url)
        coherence.warm(opened.engine, opened.settings.redis_url)
        if not is_anything_due(opened):
            return SkipReason("every target's history is complete")
        reason = _reason_to_wait(context.instance, replica.names.of(SYNC_TARGETS.name), opened, time.time())
    if reason is not None:
        return SkipReason(reason)
    return RunRequest(tags={TARGETS_TAG: "true"})


def _skip_without_set(context: SensorEvaluationContext, asset: AssetKey) -> SensorResult | SkipReason:
    """Report once that there is no set: else Dagster warns runs that snapshot users that it was never materialised."""
    reason = SkipReason("everybody is replicated (FC_TARGETS=all)")
    if context.instance.get_latest_materialization_event(asset) is not None:
        return reason
    return SensorResult(asset_events=[AssetMaterialization(asset, metadata=ALL_USERS)], skip_reason=reason)


def _reason_to_wait(instance: DagsterInstance, job: str, replica: Replica, now: float) -> str | None:
    """Why no run is launched; None if one is."""
    with replica.engine.connect() as connection:
        if is_being_completed(connection):
            return "a run is completing targets"
        failed = directory.failed_attempts(connection)
    newest = instance.get_run_records(RunsFilter(job_name=job, tags={TARGETS_TAG: "true"}), limit=MAX_COUNTED_ATTEMPTS)
    if any(is_in_flight(record, now) for record in newest):
        return "a run that will complete targets is on its way"
    failures = list(takewhile(lambda record: record.dagster_run.status == DagsterRunStatus.FAILURE, newest))
    if failures and not Attempt(len(failures), failures[0].end_time or now).is_due(now):
        return f"the last {len(failures)} runs failed: waiting before the next attempt"
    # Targets that no run has tried go at once; those that no hub could answer for are retried with backoff.
    tried = [Attempt(count, last.timestamp()) for count, last in failed]
    if not is_anything_new(replica) and not any(attempt.is_due(now) for attempt in tried):
        return "the targets that are left were asked for in vain: waiting before the next attempt"
    return None


@schedule(
    job=TARGET_SET_JOB,
    cron_schedule="17 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="With FC_TARGETS=set: recomputes the target set from the tables, and compares its copy in Redis.",
)
@failing_tick()
def hourly_targets(context: ScheduleEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """A run of the asset `targets`, if there is a set."""
    with replica.open(need_hub=False) as opened:
        if opened.targets is None:
            return SkipReason("everybody is replicated (FC_TARGETS=all)")
    if runs_unfinished(context.instance, replica.names.of(TARGET_SET_JOB.name)):
        return SkipReason("the run before is still at it")
    return RunRequest()
