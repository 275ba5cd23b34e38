"""Weeks of one type of events by the hour, which a hub serves whole or in part, and a replica that has folded them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.events import HOUR_UNIX, block, cast_add, link, merge
from fc_pipeline_tests.support.logs import log_of
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database

DAYS = 22
LINKS = 170
CASTS = 20
JUDGED = Hour(HOUR_UNIX + DAYS * 86_400 + 12 * 3600)
Serves = Callable[[Hour, int], bool]
"""Whether a hub serves the n-th LINK_ADD of an hour."""


def serves_all(_: Hour, __: int) -> bool:
    return True


def serves_every_second(hour: Hour, place: int) -> bool:
    """From the last hour on that ended."""
    return hour < JUDGED or place % 2 == 0


def _hours() -> list[tuple[Hour, int]]:
    """Three hours of each day, and up to which minute there are blocks: the last hour is at its half."""
    hours = [Hour(HOUR_UNIX + day * 86_400 + hour * 3600) for day in range(DAYS + 1) for hour in (11, 12, 13)]
    return [(hour, 30 if hour > JUDGED else 59) for hour in hours]


@cache
def _log(serves: Serves) -> EventLog:
    lines: list[bytes] = []
    heights = count(1000)
    for number, (hour, last_minute) in enumerate(_hours()):
        links = [merge(link(n + 1, number + 1000)) for n in range(LINKS * last_minute // 59) if serves(hour, n)]
        casts = [merge(cast_add(1, f"{number}.{n}")) for n in range(CASTS * last_minute // 59)]
        lines += block(next(heights), links, unix=hour.start_unix + 1)
        lines += block(next(heights), casts, unix=hour.start_unix + last_minute * 60)
    return log_of(lines)


@contextmanager
def folded(database: Database, folder: Path, serves: Serves) -> Iterator[Pipeline]:
    """All that the hub serves, folded."""
    with serving(_log(serves)) as url, open_pipeline(database, folder, url) as pipeline:
        pipeline.bench.run()
        yield pipeline
