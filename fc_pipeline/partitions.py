"""The partitions of the pipeline: hours of block time."""

import time

from dagster import AssetCheckExecutionContext, HourlyPartitionsDefinition, TimeWindow

from fc_pipeline.hours import FIRST_HOUR, PARTITION_FORMAT, Hour
from fc_pipeline.ingest.drain import HourWindow

__all__ = ["HOURS", "hour_window", "hours_of_run"]

HOURS = HourlyPartitionsDefinition(start_date=FIRST_HOUR.start, fmt=PARTITION_FORMAT, timezone="UTC", end_offset=1)
"""Every hour since the Farcaster epoch, the one that is being written now included."""


def hour_window(window: TimeWindow) -> HourWindow:
    """The hours of a run's partitions, one or a range."""
    return HourWindow(Hour.of(window.start.timestamp()), Hour.of(window.end.timestamp() - 1))


def hours_of_run(context: AssetCheckExecutionContext) -> list[Hour]:
    """The hours that a check judges: those of its run's partitions, or the present one where it runs on its own."""
    if not context.has_partition_key and not context.run.tags.get("dagster/asset_partition_range_start"):
        return [Hour.of(time.time())]
    window = hour_window(context.partition_time_window)
    hours = [window.first]
    while hours[-1] < window.last:
        hours.append(hours[-1].next)
    return hours
