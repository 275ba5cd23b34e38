"""The work of `fc-pipeline sync`: runs of the job `micro_batches` in this process, until nothing is missing."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

from dagster import DagsterInstance

from fc_pipeline.cli.in_process import run_over_partitions
from fc_pipeline.errors import FcPipelineError
from fc_pipeline.feed.goal import Goal
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.assets.hourly import MicroBatchConfig, hourly_tables
from fc_pipeline.orchestration.jobs import MICRO_BATCHES

__all__ = ["catch_up"]

POLL_SECONDS: Final = 0.5


def catch_up(goal: Goal, dagster_home: Path, on_progress: Callable[[int], None]) -> int:
    """Fold what is missing, although the hub goes on; returns how many blocks are missing at the end.

    Args:
        goal: what to reach.
        dagster_home: the folder with dagster.yaml: the runs are recorded there, for the UI to show.
        on_progress: called about twice a second, from another thread, with the number of blocks that are missing.

    Raises:
        FcPipelineError: no hub can be read, or a run failed and brought nothing.
    """
    missing = goal.missing_blocks()
    with (
        DagsterInstance.from_config(str(dagster_home)) as instance,
        _watching(lambda: on_progress(goal.missing_blocks())),
    ):
        while missing:
            failures = [_run(instance, first, last) for first, last in goal.missing_spans()]
            now_missing = goal.missing_blocks()
            if now_missing == missing:
                _raise_first(failures)
                break
            missing = now_missing
    return missing


def _raise_first(failures: list[FcPipelineError | None]) -> None:
    """Raise the first failure, if there is one."""
    for failure in failures:
        if failure is not None:
            raise failure


def _run(instance: DagsterInstance, first: Hour, last: Hour) -> FcPipelineError | None:
    """One run of the job over the hours from `first` to `last`; returns its error, or None."""
    config = MicroBatchConfig(rebuild=False)
    try:
        run_over_partitions(instance, MICRO_BATCHES.name, hourly_tables.op.name, config, first.key, last.key)
    except FcPipelineError as failure:
        return failure
    return None


@contextmanager
def _watching(look: Callable[[], None]) -> Generator[None]:
    """Call `look` again and again while the block runs, and once at its end."""
    over = Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            look()

    thread = Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    look()
