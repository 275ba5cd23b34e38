"""Events by type of the newest hours, compared with the same hours of past weeks, from what the fold has counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.fold.event_types import UNDECODABLE, UNKNOWN
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.replica import Replica
from fc_pipeline.status.usual import Level, compared_hours, level_of, usual_of
from fc_pipeline.store.hour_events import CountedHour, counted_hours, events_of_hours
from fc_pipeline.store.ledger import newest_partition

__all__ = ["JUDGED_AFTER_SECONDS", "TypeVolume", "Volume", "compare_volume"]

JUDGED_AFTER_SECONDS: Final = 1200
"""An hour that has not ended is compared from here on."""
_MAX_APART_SECONDS: Final = 120
"""Where shards differ by more, one of them is still being caught up with."""
_NOT_COMPARED: Final = {"BLOCK_CONFIRMED", "MERGE_FAILURE", UNKNOWN, UNDECODABLE}
"""Of blocks and of what is not understood other checks tell, and nobody misses messages that were refused."""


@dataclass(frozen=True, slots=True)
class TypeVolume:
    """Events of one type in the first `seconds` of an hour, and how many are usual by then."""

    hour: Hour
    seconds: float
    event_type: str
    events: int
    usual: float
    by_weekday: bool
    level: Level


@dataclass(frozen=True)
class Volume:
    """What was compared, the types that lack most first; and the hours looked at, of which it may not be known."""

    hours: Sequence[Hour]
    types: Sequence[TypeVolume]

    @property
    def unusual(self) -> list[TypeVolume]:
        """The types that are not as usual."""
        return [one for one in self.types if one.level is not Level.USUAL]


def compare_volume(replica: Replica) -> Volume:
    """The running hour, from its twentieth minute on, and the last one that has ended."""
    with replica.engine.connect() as connection:
        newest = newest_partition(connection)
        if newest is None:
            return Volume((), ())
        running = Hour.from_key(newest)
        counted = counted_hours(connection, since=min(compared_hours(Hour(running.start_unix - HOUR_SECONDS))))
        judged = [one for one in counted if _is_judged(one, running)]
        whole = {one.hour for one in counted if one.has_ended}
        wanted = {hour for one in judged for hour in compared_hours(one.hour)} & whole
        events = events_of_hours(connection, wanted | {one.hour for one in judged})
    types = [volume for one in judged for volume in _compared(one, events, wanted)]
    types.sort(key=lambda one: (one.level is Level.USUAL, one.events / one.usual, one.event_type))
    return Volume([one.hour for one in judged], types)


def _is_judged(counted: CountedHour, running: Hour) -> bool:
    if counted.has_ended:
        return counted.hour.next >= running
    return (
        counted.hour == running
        and counted.seconds >= JUDGED_AFTER_SECONDS
        and counted.apart_seconds <= _MAX_APART_SECONDS
    )


def _compared(counted: CountedHour, events: Mapping[Hour, Mapping[str, int]], whole: set[Hour]) -> list[TypeVolume]:
    """The types of an hour of which it is known what is usual, and of which anything is."""
    past = [hour for hour in compared_hours(counted.hour) if hour in whole]
    types = {name for hour in (*past, counted.hour) for name in events[hour]} - _NOT_COMPARED
    found: list[TypeVolume] = []
    for name in sorted(types):
        usual = usual_of(counted.hour, {hour: events[hour].get(name, 0) for hour in past})
        if usual is None or not usual.events:
            continue
        seen = events[counted.hour].get(name, 0)
        by_then = usual.events * counted.seconds / HOUR_SECONDS
        level = level_of(seen, usual, counted.seconds)
        found.append(TypeVolume(counted.hour, counted.seconds, name, seen, by_then, usual.by_weekday, level))
    return found
