"""Daily: verify the raw log's files; damaged ones are read again, while a hub has their events."""

import time
from collections.abc import Callable
from typing import Final

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.outputs import OUTPUTS
from fc_pipeline.feed.run import MicroBatchRun
from fc_pipeline.hours import Hour
from fc_pipeline.replica import Replica
from fc_pipeline.status import health

__all__ = ["REPAIRABLE_HOURS", "repair_recent_log"]

REPAIRABLE_HOURS: Final = 80
"""A hub keeps about three days of events; hours that it retains only in part are verified, too."""


def repair_recent_log(
    replica: Replica, run_id: str, *, now_unix: float | None = None, should_stop: Callable[[], bool] = lambda: False
) -> list[Hour]:
    """Read the files of the finished hours that a hub may still have, and from the hub what they have lost.

    Returns the hours in which something was lost, repaired or not. Raises HubError if no hub answers.
    """
    present = Hour.of(time.time() if now_unix is None else now_unix)
    oldest = Hour(present.start_unix - REPAIRABLE_HOURS * 3600)
    hours = {*replica.log.hours(), *health.covered_hours(replica)}
    lost: list[Hour] = []
    for hour in sorted(hour for hour in hours if oldest <= hour < present):
        if should_stop():
            break
        if health.lost_of(replica, [hour], reading=True):
            lost.append(hour)
            run = MicroBatchRun(replica, run_id, HourWindow(hour, hour), OUTPUTS, verify_log=True)
            run.should_stop = should_stop
            run.execute()
    return lost
