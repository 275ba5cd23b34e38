"""Conditions of runs: what failed within the last day, until the same work has succeeded."""

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from fc_pipeline.alerts.condition import Condition, Reading, Severity
from fc_pipeline.orchestration.failures import failure_of_step
from fc_pipeline.orchestration.names import Names

__all__ = ["RUN_AREAS", "read_runs"]

RUN_AREAS: Final = frozenset({"run"})

_WITHIN: Final = timedelta(days=1)
_MAX_FAILURES: Final = 100
_WORK_TAGS: Final = (PARTITION_NAME_TAG, ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
"""Of runs of one job, those with the same values of these do the same work."""


def read_runs(instance: DagsterInstance, copies: Collection[Names], jobs: Iterable[str], ui_url: str) -> Reading:
    """Failed runs, one for each work that no later run has done.

    In somebody else's Dagster, which has copies of the pipeline behind a prefix, those of its jobs and assets alone.
    """
    is_ours = _ours(copies, jobs)
    since = datetime.now(UTC) - _WITHIN
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=since)
    newest: dict[str, RunRecord] = {}
    for record in instance.get_run_records(failed, limit=_MAX_FAILURES):  # newest first
        if is_ours(record.dagster_run):
            newest.setdefault(_work(record), record)
    return Reading(
        tuple(_condition(instance, work, run, ui_url) for work, run in newest.items() if not _done_since(instance, run))
    )


def _ours(copies: Collection[Names], jobs: Iterable[str]) -> Callable[[DagsterRun], bool]:
    if not any(names.are_prefixed for names in copies):
        return lambda run: True
    own_jobs = {names.of(job) for names in copies for job in jobs}
    prefixes = {names.key_prefix for names in copies}

    def is_ours(run: DagsterRun) -> bool:
        assets = {*(run.asset_selection or ()), *(key.asset_key for key in run.asset_check_selection or ())}
        return run.job_name in own_jobs or any(tuple(key.path[:-1]) in prefixes for key in assets)

    return is_ours


def _work(record: RunRecord) -> str:
    run = record.dagster_run
    partitions = dict.fromkeys(run.tags[tag] for tag in _WORK_TAGS if tag in run.tags)
    return " ".join([run.job_name, *partitions])


def _done_since(instance: DagsterInstance, failed: RunRecord) -> bool:
    run = failed.dagster_run
    succeeded = RunsFilter(
        job_name=run.job_name,
        statuses=[DagsterRunStatus.SUCCESS],
        tags={tag: run.tags[tag] for tag in _WORK_TAGS if tag in run.tags},
        created_after=failed.create_timestamp,
    )
    return any(instance.get_run_records(succeeded, limit=1))


def _condition(instance: DagsterInstance, work: str, record: RunRecord, ui_url: str) -> Condition:
    run = record.dagster_run
    return Condition(
        f"run:{work}",
        Severity.RED,
        f"a run of {work} failed",
        detail=_why(instance, run.run_id),
        remedy="it is over once a run of the same has succeeded, or a day after the last failure",
        runbook="docs/checks.md#red-runs-sensors-and-commands",
        link=f"{ui_url}/runs/{run.run_id}" if ui_url else "",
    )


def _why(instance: DagsterInstance, run_id: str) -> str:
    """What the step that failed says; else what Dagster says of the run."""
    wanted = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    events = instance.get_records_for_run(run_id, of_type=wanted, limit=10).records
    said = [record.event_log_entry.dagster_event for record in events]
    steps = [event.step_failure_data for event in said if event is not None and event.is_step_failure]
    if steps:
        return str(failure_of_step(steps[0]))
    return next((event.message for event in said if event is not None and event.message), "")
