"""The partitions of the pipeline: hours of block time, and buckets of FIDs."""

import time

from dagster import AssetCheckExecutionContext, HourlyPartitionsDefinition, StaticPartitionsDefinition, TimeWindow

from fc_pipeline.hours import FIRST_HOUR, PARTITION_FORMAT, Hour
from fc_pipeline.ingest.drain import HourWindow
from fc_pipeline.lake.snapshot_log import BUCKETS, bucket_key

__all__ = ["FID_BUCKETS", "HOURS", "buckets_of_run", "hour_window", "hours_of_run"]

HOURS = HourlyPartitionsDefinition(start_date=FIRST_HOUR.start, fmt=PARTITION_FORMAT, timezone="UTC", end_offset=1)
"""Every hour since the Farcaster epoch, the one that is being written now included."""

FID_BUCKETS = StaticPartitionsDefinition([bucket_key(bucket) for bucket in range(BUCKETS)])
"""Users by `fid % 256`."""


def hour_window(window: TimeWindow) -> HourWindow:
    """The hours of a run's partitions, one or a range."""
    return HourWindow(Hour.of(window.start.timestamp()), Hour.of(window.end.timestamp() - 1))


def buckets_of_run(context: AssetCheckExecutionContext) -> list[int]:
    """The buckets that a check judges: those of its run's partitions, one or a range."""
    if context.has_partition_key:
        return [int(context.partition_key)]
    first, last = (int(context.run.tags[f"dagster/asset_partition_range_{end}"]) for end in ("start", "end"))
    return list(range(first, last + 1))


def hours_of_run(context: AssetCheckExecutionContext) -> list[Hour]:
    """The hours that a check judges: those of its run's partitions, or the present one where it runs on its own."""
    if not context.has_partition_key and not context.run.tags.get("dagster/asset_partition_range_start"):
        return [Hour.of(time.time())]
    window = hour_window(context.partition_time_window)
    hours = [window.first]
    while hours[-1] < window.last:
        hours.append(hours[-1].next)
    return hours
