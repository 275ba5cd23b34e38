"""Runs whose workers end, or have ended with the `up` that launched them: what is reported to Dagster.

Dagster's default launcher cannot detect that a worker is gone if its code server is gone too: such a run would stay
"started", and keep its slot and its concurrency tags for hours. It also marks a run as failed that ends early without
an announcement.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG
from sqlalchemy.pool import NullPool

from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.instance.instances import INSTANCE_TAG, living_instances, number_of, place_of
from fc_pipeline.orchestration.interruption import is_automatic
from fc_pipeline.store import lease
from fc_pipeline.store.session import make_engine

__all__ = ["announce_end", "fail_predecessors_runs", "fail_runs_of", "fail_runs_of_the_dead", "is_run_worker"]

_RUN_MODULE: Final = "multiprocessing.spawn"
"""How Dagster's default launcher starts the process of a run."""

_HAS_WORKER = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def announce_end(*, launched_by: str | None, address: Collection[str]) -> None:
    """Report the runs of the code server that is ending as being canceled; runs that wait stay queued.

    They are known by the name of the `up` that launched them, or, where there is none, by the socket or port of their
    code server. A run that is still starting cannot report it itself, and counts as canceled. A run that a sensor or a
    schedule launched and that has started just ends.
    """
    message = "Its code server is being stopped."

    def is_ours(run: DagsterRun) -> bool:
        named = run.tags.get(INSTANCE_TAG)
        return named == launched_by if named else _address_of(run) in address

    with DagsterInstance.get() as instance:
        for run in _runs(instance, [DagsterRunStatus.STARTING], is_ours):
            instance.report_run_canceled(run, message=message)
        for run in _runs(instance, [DagsterRunStatus.STARTED], is_ours):
            if is_automatic(run):
                continue
            instance.report_run_canceling(run, message=message)


def fail_predecessors_runs(instance: DagsterInstance, settings: Settings, of: str, socket: Path) -> list[str]:
    """Mark as failed the runs of earlier `up`s of the same folder; to be called when their processes are gone.

    `socket` is the code server's, by which the runs of an earlier release are known, which did not name who launched
    them. An `up` with the same folder on a host of the same name, as in containers, is no predecessor while it lives.

    Returns:
        The ids of those runs. Dagster retries them (dagster.yaml: run_retries).
    """
    alive, at_work = living_instances(settings), _runs_with_living_lease(settings)

    def is_predecessors(run: DagsterRun) -> bool:
        named = run.tags.get(INSTANCE_TAG)
        if run.run_id in at_work:
            return False
        if named is None:
            return _address_of(run) == str(socket)
        return place_of(named) == place_of(of) and number_of(named) not in alive

    return _fail(instance, is_predecessors, "Its worker ended together with an earlier `fc-pipeline up`.")


def fail_runs_of(instance: DagsterInstance, launched_by: str) -> list[str]:
    """Mark as failed the runs of this `up`; to be called when its code server and their workers are gone."""
    return _fail(
        instance, lambda run: run.tags.get(INSTANCE_TAG) == launched_by, "Its worker ended together with its server."
    )


def fail_runs_of_the_dead(instance: DagsterInstance, settings: Settings, suspects: Collection[str]) -> set[str]:
    """Mark as failed the runs of dead instances on any machine.

    An instance is dead if it is missing twice in a row (`suspects` are those missing last time: a lost session is
    reopened within seconds) and its run writes nothing: a live lease protects any run.

    Returns:
        The suspects for the next look.
    """
    alive = living_instances(settings)
    at_work = _runs_with_living_lease(settings)
    launched = {run.run_id: name for run in _runs(instance, _HAS_WORKER) if (name := run.tags.get(INSTANCE_TAG))}
    dead = {name for name in launched.values() if number_of(name) not in alive}
    ended = {run_id for run_id, name in launched.items() if name in dead & set(suspects) and run_id not in at_work}
    _fail(instance, lambda run: run.run_id in ended, "Who launched it lives no more.")
    return dead


def is_run_worker(process: psutil.Process) -> bool:
    """Whether this is the process of a run. Raises psutil.NoSuchProcess or AccessDenied where it ends."""
    return any(_RUN_MODULE in argument for argument in process.cmdline())


def _fail(instance: DagsterInstance, which: Callable[[DagsterRun], bool], message: str) -> list[str]:
    failed: list[str] = []
    for run in _runs(instance, _HAS_WORKER, which):
        instance.report_run_failed(run, message)
        failed.append(run.run_id)
    return failed


def _runs(
    instance: DagsterInstance,
    statuses: Sequence[DagsterRunStatus],
    which: Callable[[DagsterRun], bool] = lambda run: True,
) -> Iterator[DagsterRun]:
    return (run for run in instance.get_runs(RunsFilter(statuses=list(statuses))) if which(run))


def _address_of(run: DagsterRun) -> str | None:
    """Socket or port of the code server that launched the run."""
    server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
    address = server.get("socket") or server.get("port")
    return None if address is None else str(address)


def _runs_with_living_lease(settings: Settings) -> set[str]:
    engine = make_engine(settings.libpq_url(), poolclass=NullPool)
    with engine.connect() as connection:
        return lease.runs_at_work(connection)
