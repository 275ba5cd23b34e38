"""The job that completes new targets: what `target_sensor`, `fc-pipeline sync` and the UI's launchpad run."""

from typing import Any, Final

from dagster import OpExecutionContext, job, op

from fc_pipeline.orchestration.assets.bucket_reports import BucketReporter
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.instance.concurrency import HUB_POOL
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.jobs import LONG_RUN_TAGS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.targets import sync_targets

__all__ = ["SYNC_TARGETS", "TARGETS_TAG", "complete_histories"]

TARGETS_TAG: Final = "fc/targets"
"""Tag of the runs that the sensor launches."""


@op(
    pool=HUB_POOL,
    description="Complete the histories of new targets, and settle what becomes of former targets' rows.",
)
@failing_step()
def complete_histories(context: OpExecutionContext, replica: ReplicaResource) -> dict[str, Any]:
    """Reports the buckets of these targets as materialised; returns how many targets were completed."""
    with interruptible() as interruption, replica.open() as opened:
        reporter = BucketReporter(context, replica.names, opened, interruption)
        synced = sync_targets(opened, context.run.run_id, reporter.backfill, should_stop=interruption.is_requested)
        context.log.info(synced.line())
        reporter.evaluate()
        interruption.end_run(context)  # either way the work is complete
    figures = {
        "targets_completed": synced.synced,
        "targets_failed": len(synced.failed),
        "events_replayed": synced.events_replayed,
        "rows_dropped": sum(synced.rows_dropped.values()),
    }
    context.add_output_metadata(figures)
    return figures


@job(
    name="sync_targets",
    tags=LONG_RUN_TAGS,
    description="With FC_TARGETS=set: complete the histories that targets lack, from the raw log and by snapshots, "
    "and settle what becomes of former targets' rows.",
)
def SYNC_TARGETS() -> None:  # noqa: N802 - a job is a constant of the code location
    """One step."""
    complete_histories()
