"""Runs that follow the feed in a thread beside the test."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.run import MicroBatchRun
from fc_pipeline.hours import Hour

TIMEOUT_SECONDS = 60.0


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextmanager
def executing(run: MicroBatchRun) -> Iterator[list[BaseException]]:
    """The run at work in a thread, asked to stop at the end of the block; gives what it failed with."""
    failed: list[BaseException] = []
    over = threading.Event()
    run.should_stop = over.is_set

    def execute() -> None:
        try:
            run.execute()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=execute, name=run.run_id)
    thread.start()
    try:
        yield failed
    finally:
        over.set()
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def present() -> HourWindow:
    return HourWindow(Hour.of(time.time()), Hour.of(time.time()).next)
