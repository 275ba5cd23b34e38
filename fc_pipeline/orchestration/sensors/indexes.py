"""The sensor that launches the making of indexes when a new replica has caught up: one run at a time."""

import time
from typing import Final

from dagster import DagsterInstance, DefaultSensorStatus, RunRequest, SensorEvaluationContext, SkipReason, sensor

from fc_pipeline.errors import HubError
from fc_pipeline.feed.goal import has_caught_up
from fc_pipeline.orchestration.failures import failing_tick
from fc_pipeline.orchestration.index_job import MAKE_INDEXES
from fc_pipeline.orchestration.jobs import SNAPSHOTS
from fc_pipeline.orchestration.loading import reason_while_loading
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.runs_in_flight import runs_unfinished
from fc_pipeline.orchestration.sensors.attempts import Attempts
from fc_pipeline.store import later_indexes

__all__ = ["index_sensor"]

POLL_SECONDS: Final = 30


@sensor(
    job=MAKE_INDEXES,
    name="index_sensor",
    minimum_interval_seconds=POLL_SECONDS,
    default_status=DefaultSensorStatus.RUNNING,
    description="Launches the run that makes the indexes which only readers need, once nothing is missing but of the "
    "present hour: they would make loading slower.",
)
@failing_tick()
def index_sensor(context: SensorEvaluationContext, replica: ReplicaResource) -> RunRequest | SkipReason:
    """One tick: what is missing, and whether the replica has caught up."""
    try:
        with replica.open() as opened:
            with opened.engine.connect() as connection:
                missing = later_indexes.missing(connection)
            if not missing:
                return SkipReason("every index is made")
            reason = reason_while_loading(opened) or _reason_to_wait(context.instance, replica.names, time.time())
            if reason is None and not has_caught_up(opened):
                reason = f"{len(missing)} indexes wait until earlier hours are read"
    except HubError as error:
        return SkipReason(f"no hub can be read: {error}")
    return RunRequest() if reason is None else SkipReason(reason)


def _reason_to_wait(instance: DagsterInstance, names: Names, now: float) -> str | None:
    """Why no run is launched; None if one may be."""
    job = names.of(MAKE_INDEXES.name)
    if runs_unfinished(instance, job):
        return "a run is making indexes"
    if runs_unfinished(instance, names.of(SNAPSHOTS.name)):
        return "a run loads histories of users"
    return Attempts.of(instance, job).reason_to_wait(now)
