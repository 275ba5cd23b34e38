"""The sensor that launches readings of gasless keys: one run at a time, minutes apart; failing ones with backoff."""

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

from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.key_reading_job import KEYS_TAG, READ_KEYS
from fc_pipeline.orchestration.loading import reason_while_loading
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import runs_unfinished
from fc_pipeline.orchestration.sensors.attempts import Attempts
from fc_pipeline.repair.keys import is_anything_due

__all__ = ["key_sensor"]

POLL_SECONDS: Final = 60
PAUSE_SECONDS: Final = 120.0
"""A run takes all whose turn has come: more often they are not worth one."""


@sensor(
    job=READ_KEYS,
    name="key_sensor",
    minimum_interval_seconds=POLL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Looks for messages signed by keys that no row of signers has, and for users whose gasless keys were "
    "read long ago; launches the run that asks a hub for these keys, one at a time.",
)
@failing_tick()
def key_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """One tick: whose turn it is; the run queries the hub, not the tick."""
    reason = _reason_to_wait(context.instance, replica.names.of(READ_KEYS.name), time.time())
    if reason is not None:
        return SkipReason(reason)
    with replica.open(need_hub=False) as opened:
        if (waits := reason_while_loading(opened)) is not None:
            return SkipReason(waits)
        if not is_anything_due(opened):
            return SkipReason("every key is explained, and the known gasless ones were read lately")
    return RunRequest(tags={KEYS_TAG: "true"})


def _reason_to_wait(instance: DagsterInstance, job: str, now: float) -> str | None:
    """Why no run is launched; None if one may be."""
    if runs_unfinished(instance, job):
        return "a run is reading keys"
    attempts = Attempts.of(instance, job)
    reason = attempts.reason_to_wait(now)
    if reason is None and attempts.ended_unix is not None and now - attempts.ended_unix < PAUSE_SECONDS:
        return "keys were read a moment ago"
    return reason
