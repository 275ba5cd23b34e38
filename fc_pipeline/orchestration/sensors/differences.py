"""The sensor that launches the healing of differences from the state root: one run at a time, with growing pauses."""

import time
from itertools import takewhile
from typing import Final

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from fc_pipeline.orchestration.checks.state_memory import MAX_HEALING_ATTEMPTS, StateMemory, is_red
from fc_pipeline.orchestration.difference_job import DIFFERENCES_TAG, HEAL_DIFFERENCES, MAX_FIDS
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import runs_unfinished
from fc_pipeline.orchestration.sensors.attempts import Attempt

__all__ = ["difference_sensor"]

POLL_SECONDS: Final = 30
MAX_COUNTED_FAILURES: Final = 10


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
    newest = instance.get_run_records(RunsFilter(job_name=job), limit=MAX_COUNTED_FAILURES)
    failures = list(takewhile(lambda record: record.dagster_run.status == DagsterRunStatus.FAILURE, newest))
    tried = min(attempts[fid] for fid in fids)
    ends = [record.end_time for record in newest if record.end_time is not None]
    if ends and not Attempt(1 + len(failures) + tried, max(ends)).is_due(now):
        return f"{len(attempts):,} users differ still: waiting before the next attempt"
    return None
