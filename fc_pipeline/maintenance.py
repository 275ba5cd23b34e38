"""Daily upkeep: small files of the raw log that were left over, and Dagster's own history."""

from dagster import DagsterInstance, OpExecutionContext, job, op

from fc_pipeline.ingest.run import compact_finished_hours
from fc_pipeline.resources import ReplicaResource
from fc_pipeline.retention import purge_run_history

__all__ = ["MAINTENANCE"]


@op(description="Join the small files of every finished hour of the raw log.")
def compact_raw_log(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """What the hourly close could not do, because a run wrote to the hour later."""
    with replica.open(need_hub=False) as opened:
        context.log.info("files_saved=%d", compact_finished_hours(opened))


@op(description="Delete the event logs of old runs; materialisations and checks stay, so partitions keep their status.")
def purge_old_runs(context: OpExecutionContext) -> None:
    """Dagster keeps run logs for ever; a run every few minutes would fill the disk."""
    instance: DagsterInstance = context.instance
    context.log.info("rows_purged=%d", purge_run_history(instance))


@job(name="maintenance", description="Daily: compact the raw log, purge the logs of old runs.")
def MAINTENANCE() -> None:  # noqa: N802 - a job is a constant of the code location
    """Both steps, independent of each other."""
    compact_raw_log()
    purge_old_runs()
