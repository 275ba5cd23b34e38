"""Reads of the coverage ledger that several rooms ask for, through either driver (store.query)."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import sqlalchemy as sa

from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.store.query import Query

__all__ = [
    "CoveredLine",
    "event_totals",
    "events_by_hour",
    "is_anything_folded",
    "line_with",
    "lines_of_hours",
    "lines_of_shard",
]

_LINES: Final = (
    "SELECT shard, partition, from_height, to_height, array_to_string(tables, ',') FROM pipeline.coverage "
    "WHERE {} ORDER BY shard, from_height"
)
_OF_SHARD: Final = "shard = CAST(:shard AS integer)"
_OF_HOURS: Final = "partition = ANY (string_to_array(:partitions, ','))"
_LINES_OF_HOURS: Final = sa.text(_LINES.format(_OF_HOURS))
_LINES_OF_HOURS_OF_SHARD: Final = sa.text(_LINES.format(f"{_OF_SHARD} AND {_OF_HOURS}"))

_EVENTS: Final = "SELECT partition, sum(events)::bigint FROM pipeline.coverage {} GROUP BY partition ORDER BY 1 DESC"
_EVENTS_BY_HOUR: Final = sa.text(_EVENTS.format(""))
_EVENTS_OF_HOURS: Final = sa.text(_EVENTS.format(f"WHERE {_OF_HOURS}"))
_EVENT_TOTALS: Final = sa.text(
    "SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(confirmed_events), 0)::bigint FROM pipeline.coverage"
)

_IS_ANYTHING_FOLDED: Final = sa.text("SELECT EXISTS (SELECT FROM pipeline.coverage)")


class CoveredLine(NamedTuple):
    """Folded heights of a shard in an hour, and what they were written to."""

    shard: int
    hour: Hour
    heights: HeightRange
    tables: frozenset[str]


def lines_of_shard(query: Query, shard: int, hour: Hour) -> list[CoveredLine]:
    """The lines of an hour of a shard, ascending."""
    return [_line(*row) for row in query(_LINES_OF_HOURS_OF_SHARD, shard=shard, partitions=hour.key)]


def lines_of_hours(query: Query, hours: Collection[Hour]) -> list[CoveredLine]:
    """The lines of these hours, by shard, ascending."""
    return [_line(*row) for row in query(_LINES_OF_HOURS, partitions=_keys(hours))]


def line_with(lines: Sequence[CoveredLine], height: int) -> CoveredLine:
    """The line of a shard that holds a height, which must be covered."""
    return max((line for line in lines if line.heights.first <= height), key=lambda line: line.heights)


def events_by_hour(query: Query, hours: Collection[Hour] | None = None) -> dict[Hour, int]:
    """How many events were folded per hour, newest first, of these hours or of all that have any."""
    rows = query(_EVENTS_BY_HOUR) if hours is None else query(_EVENTS_OF_HOURS, partitions=_keys(hours))
    return {_hour(partition): int(events) for partition, events in rows}


def event_totals(query: Query) -> tuple[int, int]:
    """How many events were folded in all, and how many the hub counted in their blocks."""
    ((events, confirmed),) = query(_EVENT_TOTALS)
    return int(events), int(confirmed)


def is_anything_folded(query: Query) -> bool:
    """Whether the ledger has any line."""
    return bool(query(_IS_ANYTHING_FOLDED)[0][0])


def _line(shard: int, partition: str, first: int, last: int, tables: str) -> CoveredLine:
    return CoveredLine(shard, _hour(partition), HeightRange(first, last), _names(tables))


def _keys(hours: Collection[Hour]) -> str:
    return ",".join(hour.key for hour in hours)


# A ledger has many lines of an hour, and of the same tables.
@lru_cache(maxsize=16_384)
def _hour(partition: str) -> Hour:
    return Hour.from_key(partition)


@lru_cache(maxsize=256)
def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split(",")) if listed else frozenset()
