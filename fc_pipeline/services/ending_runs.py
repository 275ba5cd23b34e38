"""Runs whose code server ends, or has ended: what Dagster is told of them.

Dagster's default launcher cannot tell that a worker is gone where its code server is gone too: such a run would stay
"started", keep its slot and its concurrency tags for hours. And it calls a run failed that ends early without anybody
having announced it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG

from fc_pipeline.services.code_server import SOCKET_NAME

__all__ = ["announce_end", "fail_orphaned_runs", "is_run_worker"]

_RUN_MODULE: Final = "multiprocessing.spawn"
"""How Dagster's default launcher starts the process of a run."""

_HAS_WORKER = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def announce_end() -> None:
    """Say of the runs of the code server that ends now that they are being canceled; those that wait stay queued.

    A run that is still starting cannot say so itself, and counts as canceled.
    """
    message = "Its code server is being stopped."
    with DagsterInstance.get() as instance:
        for run in _runs(instance, [DagsterRunStatus.STARTING]):
            instance.report_run_canceled(run, message=message)
        for run in _runs(instance, [DagsterRunStatus.STARTED]):
            instance.report_run_canceling(run, message=message)


def fail_orphaned_runs(dagster_home: Path) -> list[str]:
    """Mark as failed the runs that code servers of an earlier `up` worked on; to be called when those are gone.

    Returns:
        The ids of those runs. Dagster retries them (dagster.yaml: run_retries).
    """
    failed: list[str] = []
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        for run in _runs(instance, _HAS_WORKER):
            instance.report_run_failed(run, "Its worker ended together with an earlier `fc-pipeline up`.")
            failed.append(run.run_id)
    return failed


def is_run_worker(process: psutil.Process) -> bool:
    """Whether this is the process of a run. Raises psutil.NoSuchProcess or AccessDenied where it ends."""
    return any(_RUN_MODULE in argument for argument in process.cmdline())


def _runs(instance: DagsterInstance, statuses: Sequence[DagsterRunStatus]) -> Iterator[DagsterRun]:
    """The runs of a code server with a port, or on the socket that `up` gives it.

    A run by another command (`fc-pipeline sync`, `dagster asset materialize`, `dagster dev`) is left alone.
    """
    for run in instance.get_runs(RunsFilter(statuses=list(statuses))):
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if server.get("port") or Path(server.get("socket") or "").name == SOCKET_NAME:
            yield run
