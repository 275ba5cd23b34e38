"""The sensor that launches the healing of differences from the state root: one run at a time, with growing pauses."""

import time
from typing import Final

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from fc_pipeline.orchestration.checks.state_memory import MAX_HEALING_ATTEMPTS, StateMemory, is_red
from fc_pipeline.orchestration.difference_job import DIFFERENCES_TAG, HEAL_DIFFERENCES, MAX_FIDS
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import runs_unfinished
from fc_pipeline.orchestration.sensors.attempts import Attempt, Attempts

__all__ = ["difference_sensor"]

POLL_SECONDS: Final = 30


@sensor(
    job=HEAL_DIFFERENCES,
    name="difference_sensor",
    minimum_interval_seconds=POLL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Launches the run that compares the users with the hub whom the check state_root names, one at a time; "
    f"each user {MAX_HEALING_ATTEMPTS} times at most.",
)
@failing_tick()
def difference_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """One tick: what the check says; the run queries the hub, not the tick."""
    if not is_red(context.instance, replica.names):
        return SkipReason("state_root names nobody who differs")
    memory = StateMemory.of(context.instance, replica.names)
    reason = _reason_to_wait(context.instance, replica.names.of(HEAL_DIFFERENCES.name), memory, time.time())
    return SkipReason(reason) if reason is not None else RunRequest(tags={DIFFERENCES_TAG: "true"})


def _reason_to_wait(instance: DagsterInstance, job: str, memory: StateMemory, now: float) -> str | None:
    """Why no run is launched; None if one is."""
    fids, attempts = memory.to_compare(MAX_FIDS), memory.attempts
    if not attempts:
        return "state_root names nobody who differs"
    if not fids:
        return f"each of the {len(attempts):,} users who differ was compared {MAX_HEALING_ATTEMPTS} times in vain"
    if runs_unfinished(instance, job):
        return "a run is healing, or will"
    runs = Attempts.of(instance, job)
    tried = min(attempts[fid] for fid in fids)
    if runs.ended_unix is not None and not Attempt(1 + runs.failures + tried, runs.ended_unix).is_due(now):
        return f"{len(attempts):,} users differ still: waiting before the next attempt"
    return None
