"""What happens by the clock: each hour is closed when it is over, and once a day there is upkeep."""

from dagster import (
    DefaultScheduleStatus,
    RunConfig,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from fc_pipeline.assets.hourly import MicroBatchConfig, hourly_tables
from fc_pipeline.fold import ledger
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.jobs import MICRO_BATCHES
from fc_pipeline.maintenance import MAINTENANCE
from fc_pipeline.resources import ReplicaResource

__all__ = ["close_hour", "daily_maintenance"]


@schedule(
    job=MICRO_BATCHES,
    cron_schedule="3 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Closes the hour that has ended: reads what is missing, judges it, joins its Parquet files.",
)
def close_hour(context: ScheduleEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """The hour before the scheduled one, if the ledger has anything of it."""
    hour = Hour.of(context.scheduled_execution_time.timestamp() - HOUR_SECONDS)
    with replica.open(need_hub=False) as opened, opened.engine.connect() as connection:
        shards = ledger.origins(connection)
        touched = any(ledger.covered(connection, shard, partition=hour.key) for shard in shards)
    if not touched:
        return SkipReason(f"nothing of {hour.key} was read; if the hub has it, the sensor asks for it")
    config = MicroBatchConfig(rebuild=False, compact=True)
    return RunRequest(partition_key=hour.key, run_config=RunConfig(ops={hourly_tables.op.name: config}))


daily_maintenance = ScheduleDefinition(
    name="daily_maintenance",
    job=MAINTENANCE,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
)
