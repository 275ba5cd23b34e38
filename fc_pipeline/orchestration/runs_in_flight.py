"""Which runs count as in flight, for schedules and sensors that wait for them."""

from typing import Final

from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

__all__ = ["UNFINISHED", "is_in_flight", "may_just_have_started", "runs_unfinished"]

UNFINISHED: Final = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
DEAD_AFTER_SECONDS: Final = 120.0
"""A run that has started and shows no work after so long is dead: this is longer than any wait for a lease."""


def runs_unfinished(instance: DagsterInstance, *jobs: str) -> bool:
    """Whether a run of one of these jobs has not ended."""
    return any(instance.get_runs_count(RunsFilter(job_name=job, statuses=list(UNFINISHED))) for job in jobs)


def is_in_flight(record: RunRecord, now: float) -> bool:
    """Whether a run that shows no work yet may still do so (`now` in unix seconds)."""
    if record.dagster_run.is_finished:
        return False
    return record.dagster_run.status != DagsterRunStatus.STARTED or may_just_have_started(record, now)


def may_just_have_started(record: RunRecord, now: float) -> bool:
    """Whether it is too early to call a run dead that shows no work."""
    return record.start_time is None or now - record.start_time < DEAD_AFTER_SECONDS
