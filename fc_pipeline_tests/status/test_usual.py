"""What is usual: by properties, and over generated weeks in which no hour may be called unusual that is not."""

import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hours import Hour
from fc_pipeline.status.usual import Level, Usual, compared_hours, level_of, same_hours, usual_of
from fc_pipeline_tests.support.generated_weeks import KINDS, START, WEEK_HOURS, Thirds, generated

TWENTY_MINUTES = 1200.0

counts = st.integers(0, 10**6)
usuals = st.builds(Usual, st.floats(0, 10**6), st.floats(0, 2), st.booleans())
seconds = st.floats(TWENTY_MINUTES, 3600)


@given(usuals, seconds)
def test_the_usual_count_is_usual(usual: Usual, seconds: float):
    assert level_of(round(usual.events * seconds / 3600), usual, seconds) is Level.USUAL


@given(usuals, seconds, counts, counts)
def test_fewer_events_are_never_judged_as_more(usual: Usual, seconds: float, one: int, other: int):
    order = [Level.HALVED, Level.FEW, Level.USUAL, Level.MANY]
    fewer, more = sorted((one, other))
    assert order.index(level_of(fewer, usual, seconds)) <= order.index(level_of(more, usual, seconds))


@given(st.floats(150, 10**6), st.floats(0, 0.1), seconds)
def test_a_half_is_told_where_enough_are_usual(events: float, deviation: float, seconds: float):
    share = seconds / 3600
    usual = Usual(events / share, deviation * math.sqrt(share), by_weekday=True)
    assert level_of(int(events / 2), usual, seconds) is Level.HALVED


@given(st.floats(50, 10**6), st.floats(0, 0.5))
def test_none_is_told_from_some_however_much_they_differ(events: float, deviation: float):
    assert level_of(0, Usual(events, deviation, by_weekday=True)) is Level.HALVED


@given(st.floats(0, 15.9), counts, seconds)
def test_of_very_few_events_any_number_is_usual(events: float, seen: int, seconds: float):
    assert level_of(seen, Usual(events, 0.0, by_weekday=True), seconds) is Level.USUAL


@given(st.lists(counts, min_size=28, max_size=28), st.integers(0, 3), counts)
def test_one_wrong_hour_cannot_move_what_is_usual_beyond_the_others(past: list[int], at: int, wrong: int):
    same = [6, 13, 20, 27]  # one, two, three and four weeks before
    spoilt = list(past)
    spoilt[same[at]] = wrong
    usual = usual_of(START, dict(zip(same_hours(START), spoilt, strict=True)))
    assert usual is not None
    others = [past[place] for place in same if place != same[at]]
    assert min(others) <= usual.events <= max(others)


@given(st.integers(0, 28), counts)
def test_what_is_learnt_of_how_many_days(days: int, events: int):
    usual = usual_of(START, dict.fromkeys(same_hours(START)[:days], events))
    if days < 4:
        assert usual is None
    else:
        assert usual == Usual(events, 0.0, by_weekday=days >= 21)


@pytest.mark.parametrize("days", [[1, 2, 3], [8, 9, 10, 11, 12, 13], [7, 14]])
def test_too_few_hours_teach_nothing(days: list[int]):
    hours = same_hours(START)
    assert usual_of(START, {hours[day - 1]: 100 for day in days}) is None


def _judged(events: Thirds, seen: Callable[[int], int]) -> Iterator[tuple[Hour, float, Usual, Level]]:
    for hour, (first, whole) in events.items():
        usual = usual_of(hour, {past: events[past][1] for past in compared_hours(hour) if past in events})
        if usual is not None:
            yield hour, TWENTY_MINUTES, usual, level_of(seen(first), usual, TWENTY_MINUTES)
            yield hour, 3600, usual, level_of(seen(whole), usual)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
@pytest.mark.parametrize("name", KINDS)
def test_no_hour_of_eight_weeks_is_called_unusual(name: str, seed: int):
    judged = list(_judged(generated(KINDS[name], 8, seed), lambda events: events))
    assert len(judged) > 2 * 7 * WEEK_HOURS
    assert {usual.by_weekday for _, _, usual, _ in judged} == {True, False}
    assert [(hour.key, seconds, level) for hour, seconds, _, level in judged if level is not Level.USUAL] == []


@pytest.mark.parametrize(("name", "share"), [("likes", 0.99), ("casts", 0.9)])
def test_a_half_of_what_has_many_is_found_by_the_end_of_the_hour(name: str, share: float):
    judged = list(_judged(generated(KINDS[name], 8, 0), lambda events: events // 2))
    whole = [level for _, seconds, usual, level in judged if seconds == 3600 and usual.by_weekday]
    assert whole.count(Level.HALVED) > share * len(whole)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("removes", "names", "rare")])
def test_what_stops_is_found_within_a_day_however_noisy(name: str):
    judged = list(_judged(generated(KINDS[name], 8, 0), lambda _: 0))
    found = {hour.start_unix // 86_400 for hour, _, _, level in judged if level is Level.HALVED}
    assert found == {hour.start_unix // 86_400 for hour, *_ in judged}
