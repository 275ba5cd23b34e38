"""The job that reads gasless keys: what `key_sensor`, `fc-pipeline sync` and the UI's launchpad run."""

from typing import Any, Final

from dagster import AssetMaterialization, OpExecutionContext, job, op

from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.instance.concurrency import HUB_POOL
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.keys import read_due_keys
from fc_pipeline.status.row_counts import live_rows
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS

__all__ = ["KEYS_TAG", "READ_KEYS", "read_gasless_keys"]

KEYS_TAG: Final = "fc/keys"
"""Tag of the runs that the sensor launches."""


@op(
    pool=HUB_POOL,
    description="Read the gasless keys of the users whose turn it is, one request each, and what follows from them.",
)
@failing_step()
def read_gasless_keys(context: OpExecutionContext, replica: ReplicaResource) -> dict[str, Any]:
    """Returns how many users were read, how many could not be, and how many rows of gasless_keys were written."""
    with interruptible() as interruption, replica.open() as opened:
        done = read_due_keys(opened, context.run.run_id, should_stop=interruption.is_requested)
        if done.hub_lacks_endpoint:
            context.log.warning("the hub has no signersByFid: it is asked again in a day")
        figures = {"fids_read": done.fids, "unread_fids": len(done.unread), "rows_written": done.rows}
        context.add_output_metadata(figures)
        with opened.engine.connect() as connection:
            rows = {"dagster/row_count": live_rows(connection, GASLESS_KEYS)}
        # Of no bucket: it has some users of each.
        context.log_event(AssetMaterialization(replica.names.key(GASLESS_KEYS.name), metadata={**rows, **figures}))
        interruption.end_run(context)  # either way the work is complete
    return figures


@job(
    name="read_keys",
    description="Read gasless keys, which no feed tells of: of users with a message that no key explains, and of those "
    "whose keys were read longest ago.",
)
def READ_KEYS() -> None:  # noqa: N802 - a job is a constant of the code location
    """One step."""
    read_gasless_keys()
