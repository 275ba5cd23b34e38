"""The job that heals gaps: what `gap_sensor`, `fc-pipeline backfill --gaps` and the UI's launchpad run."""

from typing import Any, Final

from dagster import OpExecutionContext, job, op

from fc_pipeline.orchestration.assets.bucket_reports import BucketReporter
from fc_pipeline.orchestration.assets.outputs import OUTCOME
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.instance.concurrency import HUB_POOL
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.jobs import LONG_RUN_TAGS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.gaps import bordering_hours, heal_gaps

__all__ = ["GAPS_TAG", "HEAL_GAPS", "heal_open_gaps"]

GAPS_TAG: Final = "fc/gaps"
"""Tag of the runs that the sensor launches."""


@op(
    pool=HUB_POOL,
    description="Snapshot and reconcile the users of which an open gap may have lost something, and close the gap.",
)
@failing_step()
def heal_open_gaps(context: OpExecutionContext, replica: ReplicaResource) -> dict[str, Any]:
    """Reports the buckets of these users as materialised; returns the number of gaps, and BackfillOutcome's figures."""
    with interruptible() as interruption, replica.open() as opened:
        reporter = BucketReporter(context, replica.names, opened, interruption)
        plan = heal_gaps(opened, context.run.run_id, reporter.backfill)
        context.log.info(f"{len(plan.damaged_ranges)} gaps, {len(plan.fids):,} users")
        reporter.evaluate_gaps(bordering_hours(opened, plan))
        reporter.evaluate()
        interruption.end_run(context)  # either way the work is complete
    figures = {"gaps": len(plan.damaged_ranges), OUTCOME: reporter.outcome().figures()}
    context.add_output_metadata(figures)
    return figures


@job(
    name="heal_gaps",
    tags=LONG_RUN_TAGS,
    description="Heal what pipeline.gaps lists as open: the users concerned are made equal to the hub.",
)
def HEAL_GAPS() -> None:  # noqa: N802 - a job is a constant of the code location
    """One step."""
    heal_open_gaps()
