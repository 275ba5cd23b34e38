import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hub.budget import RequestBudget
from fc_pipeline_tests.support.acted_hub import Waits


class Ticks(Waits):
    """A clock for many sleepers: the next to wake is the one that sleeps shortest."""

    async def sleep(self, seconds: float) -> None:
        due = self.now + seconds
        self.slept.append(seconds)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now = max(self.now, due)


def passed_at(rate: float | None, count: int) -> list[float]:
    async def main() -> list[float]:
        waits = Waits()
        budget = RequestBudget(rate, clock=waits.clock, sleep=waits.sleep)
        times: list[float] = []
        for _ in range(count):
            await budget.acquire()
            times.append(waits.now - 1000)
        return times

    return asyncio.run(main())


@given(st.floats(0.2, 50), st.integers(1, 60))
def test_never_more_than_the_rate_and_one_burst(rate: float, count: int) -> None:
    times = passed_at(rate, count)
    for index, at in enumerate(times):
        in_a_second = [other for other in times[index:] if other < at + 1]
        assert len(in_a_second) <= 2 * rate + 2
    assert times[-1] >= (count - max(1.0, rate)) / rate - 1e-6
    assert times[-1] <= count / rate + 1e-6


def test_no_limit_never_waits() -> None:
    assert passed_at(None, 100) == [0.0] * 100


def test_a_pause_holds_everything_back() -> None:
    async def main() -> None:
        waits = Ticks()
        budget = RequestBudget(None, clock=waits.clock, sleep=waits.sleep)
        budget.pause(30)
        budget.pause(5)
        assert budget.paused_seconds == pytest.approx(30)
        await asyncio.gather(*(budget.acquire() for _ in range(5)))
        assert waits.now >= 1030
        assert budget.paused_seconds == 0

    asyncio.run(main())


def test_a_pause_also_holds_those_already_waiting() -> None:
    async def main() -> None:
        waits = Ticks()
        budget = RequestBudget(1, clock=waits.clock, sleep=waits.sleep)
        await budget.acquire()
        waiting = asyncio.create_task(budget.acquire())
        await asyncio.sleep(0)
        budget.pause(30)
        await waiting
        assert waits.now >= 1030

    asyncio.run(main())
