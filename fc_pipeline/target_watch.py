"""The sensor that has new targets completed: one run at a time, new ones at once, failing ones later and later."""

import time

import sqlalchemy as sa
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    RunConfig,
    RunRequest,
    RunsFilter,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
    SkipReason,
    schedule,
    sensor,
)

from fc_pipeline.assets.snapshots import TARGETS_TAG, BackfillConfig, fid_tables
from fc_pipeline.gap_watch import RANGE_TAGS
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.target_sync import is_anything_due
from fc_pipeline.jobs import SNAPSHOTS, TARGET_SET_JOB
from fc_pipeline.resources import ReplicaResource
from fc_pipeline.sensors import Attempt
from fc_pipeline.tables.bookkeeping import FORMER_TARGETS, TARGETS
from fc_pipeline.targets import coherence

__all__ = ["hourly_targets", "target_sensor"]

LOOK_SECONDS = 1  # Dagster looks every five
MOST_COUNTED_ATTEMPTS = 10
DEAD_AFTER_SECONDS = 3600.0
"""A run that is called started for longer, though nothing came of it, is not waited for any more."""
_UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)


@sensor(
    job=SNAPSHOTS,
    name="target_sensor",
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="With FC_TARGETS=set: launches the run that completes new targets' histories and settles former ones, "
    "one at a time; failing ones later and later. Has Redis hold what Postgres does, should it have been emptied.",
)
def target_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """One look at what is due; the hub is asked by the run, not by the tick."""
    with replica.open(need_hub=False) as opened:
        if opened.targets is None:
            return SkipReason("everybody is replicated (FC_TARGETS=all)")
        coherence.repair_at_start(opened.engine, opened.settings.redis_url)
        coherence.warm(opened.engine, opened.settings.redis_url)
        if not is_anything_due(opened):
            return SkipReason("every target's history is complete")
        reason = _reason_to_wait(context.instance, opened, time.time())
    if reason is not None:
        return SkipReason(reason)
    config = RunConfig(ops={fid_tables.op.name: BackfillConfig(targets=True)})
    return RunRequest(run_config=config, tags={**RANGE_TAGS, TARGETS_TAG: "true"})


def _reason_to_wait(instance: DagsterInstance, replica: Replica, now: float) -> str | None:
    """Why no run is to be launched; None if one is."""
    newest = instance.get_run_records(
        RunsFilter(job_name=SNAPSHOTS.name, tags={TARGETS_TAG: "true"}), limit=MOST_COUNTED_ATTEMPTS
    )
    for record in newest:
        is_dead = record.start_time is not None and now - record.start_time > DEAD_AFTER_SECONDS
        if not record.dagster_run.is_finished and not is_dead:
            return "a run is completing targets, or on its way"
    with replica.engine.connect() as connection:
        untried = sa.exists(sa.select(TARGETS.c.fid).where(TARGETS.c.synced_at.is_(None), TARGETS.c.attempts == 0))
        unsettled = sa.exists(sa.select(FORMER_TARGETS.c.fid).where(FORMER_TARGETS.c.settled_at.is_(None)))
        is_new = bool(connection.scalar(sa.select(untried | unsettled)))
    ends = [record.end_time for record in newest if record.end_time is not None]
    failed = [record for record in newest if record.dagster_run.status == DagsterRunStatus.FAILURE]
    # What no run has looked at yet goes at once, unless runs as such keep failing.
    attempts = len(failed) if is_new else len(ends)
    if ends and attempts and not Attempt(attempts, max(ends)).is_due(now):
        return f"{attempts} runs have not completed all: waiting before the next attempt"
    return None


@schedule(
    job=TARGET_SET_JOB,
    cron_schedule="17 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="With FC_TARGETS=set: makes the target set anew from the tables, and compares its copy in Redis.",
)
def hourly_targets(context: ScheduleEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """A run of the asset `targets`, if there is a set."""
    with replica.open(need_hub=False) as opened:
        if opened.targets is None:
            return SkipReason("everybody is replicated (FC_TARGETS=all)")
    if context.instance.get_runs_count(RunsFilter(job_name=TARGET_SET_JOB.name, statuses=list(_UNFINISHED))):
        return SkipReason("the run before is still at it")
    return RunRequest()
