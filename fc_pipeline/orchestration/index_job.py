"""The job that makes the indexes which would make loading slower: what `index_sensor` and the UI's launchpad run."""

from dagster import OpExecutionContext, job, op

from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.store import later_indexes

__all__ = ["MAKE_INDEXES", "make_later_indexes"]


@op(description="Make the indexes that readers need and loading does not, such as that of words, once all is loaded.")
@failing_step()
def make_later_indexes(context: OpExecutionContext, replica: ReplicaResource) -> None:
    """Make what is missing, beside everything that is written meanwhile."""
    with replica.open(need_hub=False) as opened:
        made = later_indexes.make(opened.engine)
    context.log.info(f"{len(made)} indexes made")
    context.add_output_metadata({"indexes_made": made})


@job(
    name="make_indexes",
    description="Make the indexes that only readers need, which a new replica lacks until it has caught up.",
)
def MAKE_INDEXES() -> None:  # noqa: N802 - a job is a constant of the code location
    """One step."""
    make_later_indexes()
