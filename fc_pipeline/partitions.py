"""The partitions of the pipeline: hours of block time."""

from dagster import HourlyPartitionsDefinition, TimeWindow

from fc_pipeline.hours import FIRST_HOUR, PARTITION_FORMAT, Hour
from fc_pipeline.ingest.drain import HourWindow

__all__ = ["HOURS", "hour_window"]

HOURS = HourlyPartitionsDefinition(start_date=FIRST_HOUR.start, fmt=PARTITION_FORMAT, timezone="UTC", end_offset=1)
"""Every hour since the Farcaster epoch, the one that is being written now included."""


def hour_window(window: TimeWindow) -> HourWindow:
    """The hours of a run's partitions, one or a range."""
    return HourWindow(Hour.of(window.start.timestamp()), Hour.of(window.end.timestamp() - 1))
