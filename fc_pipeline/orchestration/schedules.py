"""Schedules: each hour is closed when it is over and all is proved; daily, users are compared and maintenance runs."""

from dagster import (
    DefaultScheduleStatus,
    RunConfig,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from fc_pipeline.feed.first_data import place_partition_start
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.lake.snapshot_log import bucket_key
from fc_pipeline.orchestration.assets.hourly import MicroBatchConfig, hourly_tables
from fc_pipeline.orchestration.assets.snapshots import BackfillConfig, fid_tables
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.healing_job import HEAL_GAPS
from fc_pipeline.orchestration.jobs import MICRO_BATCHES, PROOFS, RUN_CHECKS, SNAPSHOTS
from fc_pipeline.orchestration.loading import reason_while_loading
from fc_pipeline.orchestration.maintenance import MAINTENANCE
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import runs_unfinished
from fc_pipeline.orchestration.target_sync_job import SYNC_TARGETS
from fc_pipeline.status.audit import next_buckets
from fc_pipeline.store import ledger

__all__ = ["close_hour", "daily_audit", "daily_maintenance", "hourly_proofs", "regular_checks"]


@schedule(
    job=MICRO_BATCHES,
    cron_schedule="3 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Closes the hour that has ended: reads what is missing, evaluates it, joins its Parquet files.",
)
@failing_tick()
def close_hour(context: ScheduleEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """The hour before the scheduled one, if the ledger has anything of it."""
    hour = Hour.of(context.scheduled_execution_time.timestamp() - HOUR_SECONDS)
    with replica.open(need_hub=False) as opened, opened.engine.connect() as connection:
        place_partition_start(opened, by_log=True)  # earlier hours may have been copied into the lake
        shards = ledger.origins(connection)
        touched = any(ledger.covered(connection, shard, partition=hour.key) for shard in shards)
    if not touched:
        return SkipReason(f"nothing of {hour.key} was read; if the hub has it, the sensor asks for it")
    config = MicroBatchConfig(rebuild=False, compact=True)
    return RunRequest(
        partition_key=hour.key, run_config=RunConfig(ops={replica.names.of(hourly_tables.op.name): config})
    )


@schedule(
    job=SNAPSHOTS,
    cron_schedule="20 4 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Goes round the buckets: compares users with the hub, so that each has had a turn in FC_AUDIT_DAYS; by "
    "hash first, where a hub is asked over gRPC.",
)
@failing_tick()
def daily_audit(context: ScheduleEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """The buckets that have waited longest, in one run; none while another run takes snapshots."""
    over_buckets = (SNAPSHOTS.name, HEAL_GAPS.name, SYNC_TARGETS.name)
    if runs_unfinished(context.instance, *map(replica.names.of, over_buckets)):
        return SkipReason("another run over buckets is under way")
    with replica.open(need_hub=False) as opened:
        if (waits := reason_while_loading(opened)) is not None:
            return SkipReason(waits)
        with opened.engine.connect() as connection:
            if not ledger.origins(connection):
                return SkipReason("nothing was read from a hub yet")
        buckets = next_buckets(opened, opened.settings.audit_days)
    tags = {
        ASSET_PARTITION_RANGE_START_TAG: bucket_key(buckets[0]),
        ASSET_PARTITION_RANGE_END_TAG: bucket_key(buckets[-1]),
    }
    config = RunConfig(ops={replica.names.of(fid_tables.op.name): BackfillConfig(hashes_first=True)})
    return RunRequest(tags=tags, run_config=config)


daily_maintenance = ScheduleDefinition(
    name="daily_maintenance",
    job=MAINTENANCE,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Verifies, mends and compacts the raw log, and purges the logs of old runs.",
)


@schedule(
    job=RUN_CHECKS,
    cron_schedule="8,23,38,53 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Runs all checks every quarter of an hour: damage to tables or raw log shows within that time.",
)
@failing_tick()
def regular_checks(context: ScheduleEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """A run of all checks, unless the previous one is still running."""
    return _unless_unfinished(context, replica, RUN_CHECKS.name)


@schedule(
    job=PROOFS,
    cron_schedule="31 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Proves the replica every hour: each shard's state root, and a sample of messages.",
)
@failing_tick()
def hourly_proofs(context: ScheduleEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """A run of both proofs, unless the previous one is still running."""
    return _unless_unfinished(context, replica, PROOFS.name)


def _unless_unfinished(
    context: ScheduleEvaluationContext, replica: ReplicaResource, job: str
) -> RunRequest | SkipReason:
    if runs_unfinished(context.instance, replica.names.of(job)):
        return SkipReason("the run before is still under way")
    with replica.open(need_hub=False) as opened:
        waits = reason_while_loading(opened)
    return RunRequest() if waits is None else SkipReason(waits)
