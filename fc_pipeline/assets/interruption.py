"""Ending a run when it is asked to: by a signal, from the Dagster UI, or because the code server that started it ended.

Dagster raises an exception in the middle of whatever a step does, and calls the run failed where nobody announced the
termination. Here a signal only leaves word: the step ends between two micro-batches, and says itself that the run is
being canceled.
"""

import multiprocessing
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from dagster import AssetExecutionContext, DagsterExecutionInterruptedError, DagsterRunStatus

__all__ = ["Interruption", "interruptible"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Of these two, the termination in the UI is the first, and what ends containers and services the second."""


@dataclass
class Interruption:
    """Whether the run was asked to end, and why."""

    reason: str | None = None

    def is_asked_for(self) -> bool:
        """Whether the run should end. Also true once the process that started it, Dagster's code server, is gone."""
        parent = multiprocessing.parent_process()
        if self.reason is None and parent is not None and not parent.is_alive():
            self.reason = "the code server that started it has ended"
        return self.reason is not None

    def end_run(self, context: AssetExecutionContext) -> None:
        """Where the run was asked to end, have Dagster show it as canceled: raises DagsterExecutionInterruptedError."""
        if not self.is_asked_for():
            return
        context.log.info(f"ending early: {self.reason}; the next run goes on after the last committed micro-batch")
        found = context.instance.get_run_by_id(context.run_id)
        if found is not None and found.status == DagsterRunStatus.STARTED:
            context.instance.report_run_canceling(found, message=f"Ending the run early: {self.reason}.")
        raise DagsterExecutionInterruptedError(self.reason)


@contextmanager
def interruptible() -> Generator[Interruption]:
    """Notice signals that ask the run to end instead of being interrupted by them, as long as the block runs."""
    interruption = Interruption()

    def notice(number: int, frame: FrameType | None) -> None:
        interruption.reason = interruption.reason or signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield interruption
        return
    before: dict[signal.Signals, Any] = {number: signal.signal(number, notice) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
