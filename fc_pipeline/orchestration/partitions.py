"""The partitions of the pipeline: hours of block time, and buckets of FIDs."""

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Final

import psycopg2
from dagster import HourlyPartitionsDefinition, StaticPartitionsDefinition, TimeWindow

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import FcPipelineError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import FIRST_HOUR, HOUR_SECONDS, PARTITION_FORMAT, Hour
from fc_pipeline.lake.snapshot_log import BUCKETS, bucket_key
from fc_pipeline.orchestration.names import Names
from fc_pipeline.services import embedded_servers, with_urls
from fc_pipeline.store.partition_start import STORED_START
from fc_pipeline.store.session import connect_at_once

__all__ = [
    "FID_BUCKETS",
    "HOURS",
    "first_loaded_hour",
    "hour_window",
    "hours_from",
    "hours_of_copy",
    "known_start",
    "load_hours_of_copy",
]

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 2


def hours_from(first: Hour) -> HourlyPartitionsDefinition:
    """Every hour from this one on, including the present hour."""
    return HourlyPartitionsDefinition(start_date=first.start, fmt=PARTITION_FORMAT, timezone="UTC", end_offset=1)


def known_start(load_settings: Callable[[], Settings] = Settings.load) -> Hour:
    """Where partitions begin, for code location loading: starts nothing and never fails.

    Without Postgres, the beginning of Farcaster's clock, which includes every partition that any process knows. So
    commands work while the embedded server is off, and the definitions load while Postgres is down.
    """
    try:
        url = _postgres_url(load_settings())
        if url is None:
            return FIRST_HOUR
        with closing(connect_at_once(url, CONNECT_TIMEOUT_SECONDS)) as connection, connection.cursor() as cursor:
            cursor.execute(STORED_START)
            found = cursor.fetchone()
    except (FcPipelineError, OSError, psycopg2.Error) as error:
        # The first run or tick reports the error. A database that was never migrated has no such table.
        _log.info("partition_start_unknown reason=%r", str(error).strip())
        return FIRST_HOUR
    return Hour.of(found[0]) if found else FIRST_HOUR


def _postgres_url(settings: Settings) -> str | None:
    """Postgres' URL; None if it is the embedded server and not running."""
    servers = embedded_servers(settings, need_hub=False, need_redis=False)
    if any(server.running_pid() is None for server in servers):
        return None
    return with_urls(settings, servers).libpq_url()


HOURS = hours_from(known_start())
"""Every hour since the first data, as known when this was loaded."""

FID_BUCKETS = StaticPartitionsDefinition([bucket_key(bucket) for bucket in range(BUCKETS)])
"""Users by `fid % 256`."""


_of_copies: Final[dict[Names, HourlyPartitionsDefinition]] = {}


def load_hours_of_copy(names: Names, load_settings: Callable[[], Settings]) -> None:
    """Find out where the hours of a copy begin, by its own database."""
    _of_copies[names] = hours_from(known_start(load_settings))


def hours_of_copy(names: Names) -> HourlyPartitionsDefinition:
    """The hours as known when the definitions of these names were loaded."""
    return _of_copies.get(names, HOURS)


def first_loaded_hour(names: Names) -> Hour:
    """Where the partitions begin that Dagster knows through this process."""
    return Hour.of(hours_of_copy(names).start.timestamp())


def hour_window(window: TimeWindow, *, hours_ahead: int = 0) -> HourWindow:
    """The hours of a run's partitions, one or a range, and so many after them."""
    last_unix = window.end.timestamp() - 1 + hours_ahead * HOUR_SECONDS
    return HourWindow(Hour.of(window.start.timestamp()), Hour.of(last_unix))
