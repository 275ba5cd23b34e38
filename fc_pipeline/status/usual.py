"""What is usual for an hour by the same hours of past weeks, and whether a count is: robust, and nothing but numbers.

Medians, so that an hour which was wrong once does no harm. How far a count may lie from the usual one is learnt, too:
by how far each past hour lay from the median of the others.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from math import exp, log, sqrt
from statistics import median
from typing import Final

from fc_pipeline.hours import HOUR_SECONDS, Hour

__all__ = ["COMPARED_DAYS", "Level", "Usual", "compared_hours", "level_of", "same_hours", "usual_of"]

COMPARED_DAYS: Final = 28
_DAYS_WITHOUT_WEEKS: Final = 7
_DAY_SECONDS: Final = 24 * HOUR_SECONDS
_WEEK_SECONDS: Final = 7 * _DAY_SECONDS
_NEIGHBOURS: Final = range(-2, 3)
"""The hours of the day, from the same one on, that teach how far counts lie apart."""

_FEWEST_HOURS: Final = 3
_FEWEST_DAYS: Final = 4
_FEWEST_PAIRS: Final = 50
_MOST_GROWTH: Final = 1.25
"""In a week: more than that is an event, and no growth."""
_DEVIATION_OF_MAD: Final = 1.4826
"""The standard deviation of normally distributed values, as a multiple of their median absolute deviation."""

_LEAST_DEVIATION: Final = 0.08
"""People are no more regular than that, and few weeks may show too little."""
_LEAST_DEVIATION_WITHIN_HOUR: Final = 0.10
"""As the first part of an hour has not the rate of the whole."""
_FEW_DAYS_UNCERTAINTY: Final = 1.4
_LEAST_DEVIATION_OF_DAYS: Final = 0.135
"""Before there are weeks to compare with: a weekend has not as many as the days before it."""
_UNUSUAL_DEVIATIONS: Final = 4.5
_FEW_SHARE: Final = 0.75
_HALVED_SHARE: Final = 0.6
"""More than a half: a network that grew since the weeks that it is compared with has more than it had then."""
_MANY_TIMES: Final = 3.0
_CHANCE_DEVIATIONS: Final = 4.0
"""Of the square root of a count, which is how far independent events spread by themselves."""
_CHANCE_DEVIATIONS_OF_FEWEST: Final = 2.0
_FEWEST_EVENTS: Final = _CHANCE_DEVIATIONS**2


class Level(Enum):
    """How a count is, compared with what is usual."""

    USUAL = "usual"
    MANY = "many"
    FEW = "few"
    HALVED = "halved"


@dataclass(frozen=True, slots=True)
class Usual:
    """The usual count of a whole hour, and the standard deviation of the logarithm of such counts.

    `by_weekday` says whether they are of the same hour of the week, or only of the same hour of the day.
    """

    events: float
    deviation: float
    by_weekday: bool


def same_hours(hour: Hour) -> list[Hour]:
    """The same hour of each of the days that an hour is compared with, the newest first."""
    return [Hour(hour.start_unix - days * _DAY_SECONDS) for days in range(1, COMPARED_DAYS + 1)]


def compared_hours(hour: Hour) -> list[Hour]:
    """These, and their neighbours, which teach how much counts differ."""
    return [Hour(same.start_unix + place * HOUR_SECONDS) for place in _NEIGHBOURS for same in same_hours(hour)]


def usual_of(hour: Hour, counts: Mapping[Hour, int]) -> Usual | None:
    """What is usual for an hour by the counts of `compared_hours`; None where there are too few of them."""
    growth = _growth_of_week(counts)
    grown = {
        past: events * growth ** ((hour.start_unix - past.start_unix) / _WEEK_SECONDS)
        for past, events in counts.items()
    }
    weeks = _alike(hour, grown, _WEEK_SECONDS)
    if len(weeks.get(0, [])) >= _FEWEST_HOURS:
        return Usual(median(weeks[0]), _deviation(weeks.values()), by_weekday=True)
    oldest = hour.start_unix - (_DAYS_WITHOUT_WEEKS + 0.5) * _DAY_SECONDS
    newest = {past: events for past, events in counts.items() if past.start_unix > oldest}
    days = _alike(hour, newest, _DAY_SECONDS)
    if len(days.get(0, [])) < _FEWEST_DAYS:
        return None
    return Usual(median(days[0]), _FEW_DAYS_UNCERTAINTY * _deviation(days.values()), by_weekday=False)


def _growth_of_week(counts: Mapping[Hour, int]) -> float:
    """By which factor an hour usually has more than the one a week before; 1 where too few hours say."""
    pairs = [(counts.get(Hour(hour.start_unix - _WEEK_SECONDS)), events) for hour, events in counts.items()]
    ratios = [(events + 0.5) / (before + 0.5) for before, events in pairs if before is not None]
    if len(ratios) < _FEWEST_PAIRS:
        return 1.0
    return min(max(median(ratios), 1 / _MOST_GROWTH), _MOST_GROWTH)


def _alike(hour: Hour, counts: Mapping[Hour, float], period_seconds: int) -> dict[int, list[float]]:
    """The counts of hours that lie whole periods apart, by how long after them; 0 has those of the hour itself."""
    found: dict[int, list[float]] = {}
    for past, events in counts.items():
        found.setdefault((past.start_unix - hour.start_unix) % period_seconds, []).append(events)
    return found


def _deviation(alike: Collection[Sequence[float]]) -> float:
    """By how much the logarithm of one count differs from that of the median of those that are like it."""
    apart = list(chain.from_iterable(_apart(counts) for counts in alike if len(counts) >= _FEWEST_HOURS))
    return _DEVIATION_OF_MAD * median(apart)


def _apart(counts: Sequence[float]) -> list[float]:
    others = [median([*counts[:place], *counts[place + 1 :]]) for place in range(len(counts))]
    return [abs(log((count + 0.5) / (other + 0.5))) for count, other in zip(counts, others, strict=True)]


def level_of(events: int, usual: Usual, seconds: float = HOUR_SECONDS) -> Level:
    """How a count of the first seconds of an hour is; an hour's count where they are 3600.

    Of few events chance decides how many they are: none is told from usual where 16 are, a half where 150 are.
    """
    share = seconds / HOUR_SECONDS
    expected = usual.events * share
    if expected < _FEWEST_EVENTS or abs(events - expected) < _CHANCE_DEVIATIONS * sqrt(expected):
        return Level.USUAL
    least = _LEAST_DEVIATION if seconds >= HOUR_SECONDS else _LEAST_DEVIATION_WITHIN_HOUR
    least = least if usual.by_weekday else _LEAST_DEVIATION_OF_DAYS
    differs_by = exp(_UNUSUAL_DEVIATIONS * max(least, usual.deviation / sqrt(share)))
    if events >= expected * max(_MANY_TIMES, differs_by):
        return Level.MANY
    fewest = expected / differs_by
    if events > min(expected * _FEW_SHARE, fewest - _CHANCE_DEVIATIONS_OF_FEWEST * sqrt(fewest)):
        return Level.USUAL
    return Level.HALVED if events <= expected * _HALVED_SHARE else Level.FEW
