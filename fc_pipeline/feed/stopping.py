"""Ending a run early and cleanly: the transaction in flight is committed or rolled back, and nothing new is started."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["POLL_SECONDS", "Stopped", "until_stopped"]

_log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
GRACE_SECONDS = 3.0
"""How long work in flight may take before it is cancelled: a stop is expected to end a run within five seconds."""


class Stopped(Exception):
    """Raised inside a run that was asked to stop, to leave work that can be done again by the next one."""


async def until_stopped(
    work: Coroutine[Any, Any, None], should_stop: Callable[[], bool], abandon: Callable[[], None]
) -> None:
    """Do the work, which ends by itself once `should_stop` returns True; cancel it if that takes longer than the grace.

    `abandon` is called then, in a thread, to end what a thread of the work still waits for.
    """
    task = asyncio.create_task(work)
    while not should_stop():
        if (await asyncio.wait([task], timeout=POLL_SECONDS))[0]:
            return task.result()
    if (await asyncio.wait([task], timeout=GRACE_SECONDS))[0]:
        return task.result()
    task.cancel()
    await asyncio.to_thread(abandon)
    await asyncio.wait([task])
    reason = None if task.cancelled() else task.exception()
    _log.warning("stopped_by_force reason=%r: it is rolled back, and read again by the next run", str(reason or ""))
    return None
