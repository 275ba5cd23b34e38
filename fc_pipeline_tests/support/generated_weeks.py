"""Weeks of day and night, generated: how many events of each type came in every hour, and in its first third."""

import math
import random
from dataclasses import dataclass

from fc_pipeline.hours import Hour

START = Hour.from_key("2026-08-03-00:00")  # a Monday
WEEK_HOURS = 7 * 24


@dataclass(frozen=True)
class Kind:
    """A type of events: how many an hour at noon, by how much an hour differs from what it should be, its growth."""

    noon: float
    noise: float
    weekly_growth: float = 1.0

    def rate(self, hour: int) -> float:
        """Events an hour at a time in hours: a night with a fifth of the day's, and a weekend of four fifths."""
        day = 0.6 - 0.4 * math.cos(2 * math.pi * (hour % 24) / 24)
        weekend = 0.8 if hour // 24 % 7 >= 5 else 1.0
        return self.noon * day * weekend * self.weekly_growth ** (hour / WEEK_HOURS)


KINDS = {
    "likes": Kind(40_000, 0.06, 1.05),
    "casts": Kind(6_000, 0.08, 1.03),
    "follows": Kind(3_000, 0.15, 0.97),
    "shrinking": Kind(900, 0.08, 0.95),
    "profiles": Kind(300, 0.25),
    "removes": Kind(120, 0.5),
    "names": Kind(12, 0.5),
    "rare": Kind(1.5, 0.5),
}


def _poisson(rate: float, chance: random.Random) -> int:
    if rate > 200:
        return max(0, round(chance.gauss(rate, math.sqrt(rate))))
    count, product, limit = 0, chance.random(), math.exp(-rate)
    while product > limit:
        count, product = count + 1, product * chance.random()
    return count


Thirds = dict[Hour, tuple[int, int]]
"""By hour how many events came in its first twenty minutes, and in all of it."""


def generated(kind: Kind, weeks: int, seed: int) -> Thirds:
    chance = random.Random(f"{kind}{seed}")
    found: Thirds = {}
    for hour in range(weeks * WEEK_HOURS):
        rates = [kind.rate(hour) * math.exp(chance.gauss(0, kind.noise)) / 3] * 3
        thirds = [_poisson(rate, chance) for rate in rates]
        found[Hour(START.start_unix + hour * 3600)] = thirds[0], sum(thirds)
    return found
