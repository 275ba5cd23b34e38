"""Runs whose worker died with an earlier `fc-pipeline up`.

Dagster's default launcher cannot tell that a worker is gone where its code server is gone too: such a run would stay
"started", keep its slot and its concurrency tags for hours.
"""

import json
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG

__all__ = ["fail_orphaned_runs"]

_HAS_WORKER = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def fail_orphaned_runs(dagster_home: Path) -> list[str]:
    """Mark as failed the runs that code servers of an earlier `up` worked on; to be called when those are gone.

    A run by another command (`fc-pipeline sync`, `dagster asset materialize`, `dagster dev`) is left alone: `up` is
    the only one whose code server has a port.

    Returns:
        The ids of those runs. Dagster retries them (dagster.yaml: run_retries).
    """
    failed: list[str] = []
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        for run in instance.get_runs(RunsFilter(statuses=_HAS_WORKER)):
            if json.loads(run.tags.get(GRPC_INFO_TAG, "{}")).get("port"):
                instance.report_run_failed(run, "Its worker ended together with an earlier `fc-pipeline up`.")
                failed.append(run.run_id)
    return failed
