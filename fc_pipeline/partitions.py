"""The partitions of the pipeline: hours of block time, and buckets of FIDs."""

from dagster import HourlyPartitionsDefinition, StaticPartitionsDefinition, TimeWindow

from fc_pipeline.hours import FIRST_HOUR, HOUR_SECONDS, PARTITION_FORMAT, Hour
from fc_pipeline.ingest.drain import HourWindow
from fc_pipeline.lake.snapshot_log import BUCKETS, bucket_key

__all__ = ["FID_BUCKETS", "HOURS", "hour_window"]

HOURS = HourlyPartitionsDefinition(start_date=FIRST_HOUR.start, fmt=PARTITION_FORMAT, timezone="UTC", end_offset=1)
"""Every hour since the Farcaster epoch, the one that is being written now included."""

FID_BUCKETS = StaticPartitionsDefinition([bucket_key(bucket) for bucket in range(BUCKETS)])
"""Users by `fid % 256`."""


def hour_window(window: TimeWindow, *, hours_ahead: int = 0) -> HourWindow:
    """The hours of a run's partitions, one or a range, and so many after them."""
    last_unix = window.end.timestamp() - 1 + hours_ahead * HOUR_SECONDS
    return HourWindow(Hour.of(window.start.timestamp()), Hour.of(last_unix))
