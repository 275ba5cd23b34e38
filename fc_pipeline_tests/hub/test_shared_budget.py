"""The budget that several processes share, through a real Redis."""

import asyncio
import json
import subprocess
import sys
import time

import pytest

from fc_pipeline.errors import HubUnavailable
from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.shared_budget import SharedBudget
from fc_pipeline_tests.support.acted_hub import ActedHub, Answer, Waits

HUB = "http://hub.example"
ASKING = """
import asyncio, json, sys, time
from fc_pipeline.hub.shared_budget import SharedBudget

async def main(rate, url, hub, count):
    budget = SharedBudget(rate, url, hub)
    passed = []
    for _ in range(count):
        await budget.acquire()
        passed.append(time.time())
    await budget.close()
    return passed

print(json.dumps(asyncio.run(main(float(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))))
"""


def asking(rate: float, url: str, count: int, hub: str = HUB) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ASKING, str(rate), url, hub, str(count)], stdout=subprocess.PIPE, text=True
    )


def passed(process: "subprocess.Popen[str]") -> list[float]:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(output)


@pytest.mark.slow
def test_two_processes_keep_to_one_budget(redis_url: str):
    rate, each = 20.0, 40
    processes = [asking(rate, redis_url, each) for _ in range(2)]
    times = sorted(at for process in processes for at in passed(process))
    assert len(times) == 2 * each
    for index, at in enumerate(times):
        assert len([other for other in times[index:] if other < at + 1]) <= 2 * rate + 2
    assert times[-1] - times[0] >= (2 * each - rate) / rate - 0.2


def test_another_hub_has_another_budget(redis_url: str):
    async def main() -> list[float]:
        waits = Waits()
        budgets = [SharedBudget(1, redis_url, f"{HUB}:{port}", sleep=waits.sleep) for port in (1, 2, 3)]
        for budget in budgets:
            await budget.acquire()
            await budget.close()
        return waits.slept

    assert asyncio.run(main()) == []


def test_a_pause_asked_of_one_holds_back_the_other(redis_url: str):
    async def main() -> tuple[float, float]:
        waits = Waits()
        asked, other = (SharedBudget(50, redis_url, HUB, clock=waits.clock, sleep=waits.sleep) for _ in range(2))
        asked.pause(3600)
        await asked.acquire()  # tells of it, and leaves to its caller what to do about an hour
        assert waits.slept == []
        await other.acquire()
        await asked.close()
        await other.close()
        return asked.paused_seconds, other.paused_seconds

    for seconds in asyncio.run(main()):
        assert seconds == pytest.approx(3600, abs=5)


def test_a_short_pause_is_waited_for(redis_url: str):
    async def main() -> float:
        asked, other = SharedBudget(50, redis_url, HUB), SharedBudget(50, redis_url, HUB)
        asked.pause(0.6)
        telling = asyncio.create_task(asked.acquire())
        await asyncio.sleep(0.2)
        started = time.monotonic()
        await other.acquire()
        waited = time.monotonic() - started
        await telling
        await asked.close()
        await other.close()
        return waited

    assert asyncio.run(main()) >= 0.2


def test_a_client_refuses_a_long_pause_that_another_process_was_asked_for(redis_url: str):
    async def main() -> int:
        async with ActedHub() as hub:
            hub.script = [Answer(429, headers={"retry-after": "600"})]
            endpoint = HubEndpoint(hub.url, requests_per_second=100, budget_redis_url=redis_url)
            async with HubClient(endpoint) as first, HubClient(endpoint) as second:
                with pytest.raises(HubUnavailable, match="left alone"):
                    await first.get("/v1/info")
                await first.budget.acquire()
                with pytest.raises(HubUnavailable, match="left alone"):
                    await second.get("/v1/info")
            return len(hub.requests)

    assert asyncio.run(main()) == 1


def test_without_redis_the_process_keeps_its_own_budget_and_says_so(caplog: pytest.LogCaptureFixture):
    async def main() -> list[float]:
        waits = Waits()
        budget = SharedBudget(2, "redis://127.0.0.1:9/0", HUB, clock=waits.clock, sleep=waits.sleep)
        times: list[float] = []
        for _ in range(6):
            await budget.acquire()
            times.append(waits.now - 1000)
        await budget.close()
        return times

    assert asyncio.run(main()) == pytest.approx([0, 0, 0.5, 1, 1.5, 2])
    said = [record.getMessage() for record in caplog.records if "budget_not_shared" in record.getMessage()]
    assert len(said) == 1
    assert HUB in said[0]
