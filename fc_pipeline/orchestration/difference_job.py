"""The job that heals differences from the state root: what `difference_sensor` and the UI's launchpad run."""

from typing import Any, Final

from dagster import OpExecutionContext, job, op

from fc_pipeline.orchestration.assets.bucket_reports import BucketReporter
from fc_pipeline.orchestration.assets.outputs import OUTCOME
from fc_pipeline.orchestration.checks.state_memory import StateMemory
from fc_pipeline.orchestration.checks.state_root import evaluate_state_root
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.instance.concurrency import HUB_POOL
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.jobs import LONG_RUN_TAGS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.state_root import compare_with_hub

__all__ = ["DIFFERENCES_TAG", "HEAL_DIFFERENCES", "MAX_FIDS", "heal_differing_users"]

DIFFERENCES_TAG: Final = "fc/differences"
"""Tag of the runs that the sensor launches."""
MAX_FIDS: Final = 1_000
"""A run compares no more users with the hub; the next one goes on."""


@op(
    pool=HUB_POOL,
    description="Compare the users whom the check state_root names with the hub, and evaluate it again.",
)
@failing_step()
def heal_differing_users(context: OpExecutionContext, replica: ReplicaResource) -> dict[str, Any]:
    """Reports their buckets as materialised; returns how many were compared, and whether all is proved then."""
    with interruptible() as interruption, replica.open() as opened:
        reporter = BucketReporter(context, replica.names, opened, interruption)
        memory = StateMemory.of(context.instance, replica.names)
        fids = memory.to_compare(MAX_FIDS)
        if fids:
            context.log.info(f"{len(fids):,} of {len(memory.attempts):,} users who differ")
            compare_with_hub(fids, reporter.backfill)
            reporter.evaluate()
        interruption.end_run(context)  # what is compared is complete; the next run goes on
        found = evaluate_state_root(opened, context.run.run_id, memory.after_comparing(fids))
        reporter.report([found])
    figures = {"fids": len(fids), "is_proved": found.passed, OUTCOME: reporter.outcome().figures()}
    context.add_output_metadata(figures)
    return figures


@job(
    name="heal_differences",
    tags=LONG_RUN_TAGS,
    description="Heal what makes the state root another one: the users who differ are made equal to the hub.",
)
def HEAL_DIFFERENCES() -> None:  # noqa: N802 - a job is a constant of the code location
    """One step."""
    heal_differing_users()
