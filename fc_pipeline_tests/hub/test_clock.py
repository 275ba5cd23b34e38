import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.hub.clock import HubClock, NoEvents
from fc_pipeline_tests.support.acted_hub import ActedHub, Event, block, blocks, failure, reads_for

T = TypeVar("T")
logging.getLogger("asyncio").setLevel(logging.WARNING)


def with_clock(log: list[Event], use: Callable[[HubClock, ActedHub], Awaitable[T]]) -> T:
    async def main() -> T:
        async with ActedHub({1: log}) as hub:
            reads = reads_for(hub)
            try:
                return await use(HubClock(reads, 1, now=lambda: 1_800_000_000.0), hub)
            finally:
                await reads.client.close()

    return asyncio.run(main())


def chain(steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Blocks (height, unix seconds) from steps between them; a step of time may be 0 or months."""
    height, at = 50, 1_700_000_000
    found = [(height, at)]
    for heights, seconds in steps:
        height, at = height + heights, at + seconds
        found.append((height, at))
    return found


def log_of(found: list[tuple[int, int]]) -> list[Event]:
    return [event for height, at in found for event in block(height, 1, unix_seconds=at)]


seconds = st.one_of(st.sampled_from([0, 1, 1, 1, 2]), st.integers(0, 10_000_000))
steps = st.lists(st.tuples(st.sampled_from([1, 1, 1, 1, 2, 40]), seconds), max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.lists(st.integers(-5, 5), min_size=1, max_size=4), st.data())
def test_first_height_at_equals_a_linear_scan(
    found_steps: list[tuple[int, int]], offsets: list[int], data: st.DataObject
) -> None:
    found = chain(found_steps)

    async def use(clock: HubClock, hub: ActedHub) -> None:
        for offset in offsets:
            wanted = data.draw(st.sampled_from(found))[1] + offset
            scanned = next((height for height, at in found if at >= wanted), found[-1][0] + 1)
            assert await clock.first_height_at(wanted) == scanned

    with_clock(log_of(found), use)


def test_few_requests_where_blocks_come_evenly() -> None:
    log = [event for height in range(1, 20_001) for event in block(height, 0)]

    async def use(clock: HubClock, hub: ActedHub) -> int:
        assert await clock.first_height_at(1_700_000_000 + 12_345) == 12_345
        return len(hub.requests)

    assert with_clock(log, use) <= 8


def test_logarithmic_requests_whatever_the_times() -> None:
    log = [
        event
        for height in range(1, 4096)
        for event in block(height, 0, unix_seconds=1_700_000_000 + 2 ** (height // 180))
    ]

    async def use(clock: HubClock, hub: ActedHub) -> int:
        assert await clock.first_height_at(1_700_000_000 + 9) == 4 * 180
        return len(hub.requests)

    assert with_clock(log, use) <= 3 * 13


def test_times_of_heights_oldest_and_head() -> None:
    async def use(clock: HubClock, hub: ActedHub) -> None:
        assert await clock.oldest() == (100, 1_700_000_100)
        assert await clock.head() == (120, 1_700_000_120)
        assert await clock.time_of(107) == 1_700_000_107
        asked = len(hub.requests)
        assert await clock.time_of(107) == 1_700_000_107
        assert len(hub.requests) == asked

    with_clock([failure(0, 3), *blocks(100, 120)], use)


def test_the_head_moves() -> None:
    async def use(clock: HubClock, hub: ActedHub) -> None:
        assert (await clock.head())[0] == 3
        hub.log[1] += block(4)
        assert (await clock.head())[0] == 4

    with_clock(blocks(1, 3), use)


def test_no_events_is_said() -> None:
    async def use(clock: HubClock, hub: ActedHub) -> None:
        with pytest.raises(NoEvents):
            await clock.head()
        with pytest.raises(NoEvents):
            await clock.first_height_at(5)

    with_clock([], use)


def test_without_block_confirmed_times_are_estimated_from_info() -> None:
    async def use(clock: HubClock, hub: ActedHub) -> None:
        hub.block_delay = 1000
        head_time = 1_800_000_000 - 1000
        assert await clock.head() == (200, head_time)
        assert await clock.oldest() == (100, head_time - 100)
        assert await clock.time_of(150) == head_time - 50
        assert await clock.first_height_at(head_time - 50) == 150
        assert await clock.first_height_at(head_time + 1) == 201
        assert await clock.first_height_at(0) == 100

    with_clock([failure(height, seq) for height in range(100, 201) for seq in (0, 1)], use)


def test_poison_at_the_ends_does_not_stop_the_clock() -> None:
    async def use(clock: HubClock, hub: ActedHub) -> None:
        hub.poison = {hub.log[1][0]["id"], hub.log[1][-1]["id"]}
        assert (await clock.oldest())[0] == 100
        assert (await clock.head())[0] == 102

    with_clock([failure(height, seq) for height in range(100, 103) for seq in (0, 1)], use)


def test_a_block_without_a_readable_confirmation_takes_the_time_of_the_next() -> None:
    log = blocks(100, 140)
    unreadable = {**log[3 * 20]}
    unreadable["blockConfirmedBody"] = {"timestamp": "?"}
    log[3 * 20] = unreadable

    async def use(clock: HubClock, hub: ActedHub) -> None:
        hub.block_delay = 0
        assert await clock.time_of(120) == 1_700_000_121
        for wanted in range(100, 141):
            scanned = wanted if wanted != 121 else 120
            assert await clock.first_height_at(1_700_000_000 + wanted) == scanned

    with_clock(log, use)


@settings(deadline=None)
@given(st.dictionaries(st.integers(10, 60), st.integers(0, 50), max_size=20), st.sets(st.integers(10, 60), max_size=40))
def test_filled_times_keep_the_known_ones_and_never_go_back(gaps: dict[int, int], heights: set[int]) -> None:
    at, known = 1_700_000_000, dict[int, int]()
    for height in sorted(gaps):
        at += gaps[height]
        known[height] = at

    async def use(clock: HubClock, hub: ActedHub) -> dict[int, int]:
        return await clock.fill_times(known, heights, None)

    times = with_clock([failure(30, 0)], use)
    assert times.keys() == heights | known.keys()
    assert {height: times[height] for height in known} == known
    assert sorted(times.values()) == [times[height] for height in sorted(times)]
