"""Ending a run when it is asked to: by a signal, from the Dagster UI, or because the code server that started it ended.

Dagster raises an exception in the middle of a step, and marks the run as failed if the termination was not announced.
Here a signal only sets a flag, and the step ends between two micro-batches. A run that a person launched, or terminates
in the UI, is then shown as canceled. A run that a sensor or a schedule launched just ends: its work so far is complete,
and the next run resumes it.
"""

import multiprocessing
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from dagster import (
    AssetExecutionContext,
    DagsterExecutionInterruptedError,
    DagsterRun,
    DagsterRunStatus,
    OpExecutionContext,
)
from dagster._core.storage.tags import SCHEDULE_NAME_TAG, SENSOR_NAME_TAG

__all__ = ["Interruption", "interruptible", "is_automatic"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The first is sent by a termination in the UI, the second when containers and services end."""


@dataclass
class Interruption:
    """Whether the run was asked to end, and why."""

    reason: str | None = None

    def is_requested(self) -> bool:
        """Whether the run should end. Also true once the process that started it, Dagster's code server, is gone."""
        parent = multiprocessing.parent_process()
        if self.reason is None and parent is not None and not parent.is_alive():
            self.reason = "the code server that started it has ended"
        return self.reason is not None

    def end_run(self, context: AssetExecutionContext | OpExecutionContext) -> bool:
        """Whether the run was asked to end, and must end now.

        Raises DagsterExecutionInterruptedError if Dagster should show it as canceled.
        """
        if not self.is_requested():
            return False
        context.log.info(f"ending early: {self.reason}; the next run goes on after the last committed micro-batch")
        found = context.instance.get_run_by_id(context.run.run_id)
        if found is not None and found.status == DagsterRunStatus.STARTED:
            if is_automatic(found):
                return True
            context.instance.report_run_canceling(found, message=f"Ending the run early: {self.reason}.")
        raise DagsterExecutionInterruptedError(self.reason)


def is_automatic(run: DagsterRun) -> bool:
    """Whether a sensor or a schedule launched the run, rather than a person."""
    return SENSOR_NAME_TAG in run.tags or SCHEDULE_NAME_TAG in run.tags


@contextmanager
def interruptible() -> Generator[Interruption]:
    """Record signals that ask the run to end instead of being interrupted by them, while the block runs."""
    interruption = Interruption()

    def notice(number: int, frame: FrameType | None) -> None:
        interruption.reason = interruption.reason or signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield interruption
        return
    before: dict[signal.Signals, Any] = {number: signal.signal(number, notice) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
