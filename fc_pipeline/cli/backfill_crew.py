"""Processes of this machine that share a round over buckets, and who starts, hears and ends them."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final

from fc_pipeline.backfill.progress import BackfillOutcome
from fc_pipeline.backfill.round_plan import BUCKETS_PER_RUN
from fc_pipeline.cli.hushing import hush_dagster
from fc_pipeline.errors import FcPipelineError, ServiceError
from fc_pipeline.services import close_services_for_process
from fc_pipeline.store.fid_listings import Listing

__all__ = ["backfill_by_workers"]

log = logging.getLogger(__name__)

RUNS_PER_WORKER: Final = 4
"""At least, so that all end at about the same time."""
LOOK_SECONDS: Final = 1.0


def backfill_by_workers(
    listing: Listing, left: Sequence[int], workers: int, on_look: Callable[[], None]
) -> BackfillOutcome:
    """Do what is left of the round by so many processes of this machine; `on_look` is called about once a second.

    One that is killed is replaced, and what it had begun goes on from its last commit. Raises the first error of the
    runs when all are done, KeyboardInterrupt when all have ended at their next commit.
    """
    buckets_per_run = min(BUCKETS_PER_RUN, max(1, ceil(len(left) / (workers * RUNS_PER_WORKER))))
    crew = _Crew(listing, buckets_per_run, replacements=workers)
    try:
        for _ in range(min(workers, len(left))):
            crew.start()
        while crew.processes:
            crew.look()
            on_look()
    except KeyboardInterrupt:
        crew.end()
        raise
    finally:
        crew.kill()
    if crew.failures:
        raise crew.failures[0]
    return crew.done


@dataclass
class _Crew:
    """The workers' processes, with the pipe on which each tells what it has done."""

    listing: Listing
    buckets_per_run: int
    replacements: int
    done: BackfillOutcome = field(default_factory=BackfillOutcome)
    failures: list[FcPipelineError] = field(default_factory=list[FcPipelineError])
    processes: dict[Connection, SpawnProcess] = field(default_factory=dict[Connection, SpawnProcess])

    def start(self) -> None:
        """Start one more."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_work, args=(self.listing, self.buckets_per_run, theirs), name="fc-pipeline backfill worker"
        )
        process.start()
        theirs.close()
        self.processes[ours] = process

    def look(self) -> None:
        """Hear what workers tell, and replace who was killed; waits for at most a second."""
        ready = wait(list(self.processes), LOOK_SECONDS)
        for told in [one for one in self.processes if one in ready]:
            try:
                kind, what = told.recv()
            except (EOFError, ConnectionResetError):
                self._ended(told)
                continue
            if kind == "outcome":
                self.done += BackfillOutcome.of_figures(what)
            else:
                message, hint = what
                self.failures.append(ServiceError(message, hint=hint))

    def _ended(self, told: Connection) -> None:
        process = self.processes.pop(told)
        told.close()
        process.join()
        if not process.exitcode:
            return
        log.warning("worker_ended pid=%s exit_code=%s", process.pid, process.exitcode)
        if self.replacements:
            self.replacements -= 1
            self.start()
            return
        self.failures.append(
            ServiceError(
                f"a worker of the backfill ended with exit code {process.exitcode}",
                hint="what is done is kept: the same command goes on from there",
            )
        )

    def end(self) -> None:
        """Have all end at their next commit, and wait for them."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.join()

    def kill(self) -> None:
        """End whoever is left."""
        for process in self.processes.values():
            process.kill()
            process.join()


def _work(listing: Listing, buckets_per_run: int, told: Connection) -> None:
    """The whole of a worker's process; tells ("outcome", figures) of a run, or ("failed", (message, hint))."""
    os.setsid()  # Ctrl-C is for whoever started it, who has each worker end
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    hush_dagster()
    from fc_pipeline.cli.shared_backfill import runs_of_round  # importing Dagster takes seconds

    try:
        for one in runs_of_round(listing, buckets_per_run):
            if isinstance(one, BackfillOutcome):
                told.send(("outcome", one.figures()))
            else:
                told.send(("failed", (one.message, one.hint)))
    except KeyboardInterrupt:
        return
    except FcPipelineError as error:
        told.send(("failed", (error.message, error.hint)))
    finally:
        close_services_for_process()
