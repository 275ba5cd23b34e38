"""The job that replays the quarantine: what `fc-pipeline quarantine replay` runs, and the UI's launchpad."""

from typing import Any

from dagster import AssetObservation, Config, OpExecutionContext, job, op
from pydantic import Field

from fc_pipeline.orchestration.assets.closed_hours import note_repair
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.quarantine import Replay, ReplayOutcome

__all__ = ["REPLAY_QUARANTINE", "ReplayConfig", "fold_quarantined"]


class ReplayConfig(Config):
    """The records to replay; all unresolved ones by default."""

    reasons: list[str] = Field(default=[], description="Only records quarantined for these reasons.")
    records: list[str] = Field(
        default=[], description="Only these records, by name as `fc-pipeline quarantine list` shows it."
    )


@op(description="Fold what this release can understand of the quarantine; what it cannot is left with its reason.")
@failing_step()
def fold_quarantined(context: OpExecutionContext, config: ReplayConfig, replica: ReplicaResource) -> dict[str, Any]:
    """Tables that got rows get an observation."""
    with replica.open(need_hub=False) as opened:
        outcome = Replay(opened, context.run_id, config.reasons, config.records).execute()
    for table, written in sorted(outcome.written.items()):
        if written.rows:
            counts = {
                "rows_inserted": written.inserted,
                "rows_updated": written.updated,
                "rows_deleted": written.deleted,
            }
            context.log_event(
                AssetObservation(replica.names.key(table), description="Quarantine replayed", metadata=counts)
            )
    for hour in sorted(outcome.hours):
        note_repair(context, replica.names, hour, sum(one.rows for one in outcome.written.values()))
    figures = _figures(outcome)
    context.add_output_metadata(
        {name: value for name, value in figures.items() if name != "left"} | {"left": len(outcome.left)}
    )
    return figures


def _figures(outcome: ReplayOutcome) -> dict[str, Any]:
    return {
        "resolved": outcome.resolved,
        "noted": outcome.noted,
        "rows_written": sum(rows.rows for rows in outcome.written.values()),
        "left": dict(outcome.left),
        "hours": [hour.key for hour in sorted(outcome.hours)],
    }


@job(name="replay_quarantine", description="Fold what this release can understand of the quarantine.")
def REPLAY_QUARANTINE() -> None:  # noqa: N802 - a job is a constant of the code location
    """One step."""
    fold_quarantined()
