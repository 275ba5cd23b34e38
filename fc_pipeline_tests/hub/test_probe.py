"""Who only looks waits seconds for a hub, whatever it does."""

import asyncio

import pytest

from fc_pipeline.errors import HubUnavailable
from fc_pipeline.hub import probe
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.probe import PROBE_SECONDS, probe_pool
from fc_pipeline_tests.hub.test_timeouts import Act, hang, hub_that, stop_within, trickle_body, trickle_head
from fc_pipeline_tests.support.acted_hub import ActedHub, blocks

SILENCE_SECONDS = probe.SILENCE_SECONDS
"""As it is in production; these tests are in haste."""
HUNG: list[Act] = [hang, trickle_head, trickle_body, stop_within]


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SILENCE_SECONDS", 1.0)


def test_all_patience_together_is_within_the_bound() -> None:
    assert SILENCE_SECONDS < PROBE_SECONDS <= 5


@pytest.mark.slow
@pytest.mark.parametrize("act", HUNG)
def test_a_hub_that_hangs_is_told_of_by_its_name(act: Act) -> None:
    async def main() -> None:
        async with hub_that(act) as url:
            with pytest.raises(HubUnavailable, match=f"hub {url} GET /v1/info: timed out: .* .2 attempts"):
                async with probe_pool([HubEndpoint(url)]) as hubs:
                    await hubs.info()

    asyncio.run(main())


@pytest.mark.parametrize("act", HUNG)
def test_the_next_hub_tells_instead(act: Act) -> None:
    async def main() -> None:
        async with (
            hub_that(act) as url,
            ActedHub({1: blocks(1, 20)}) as sound,
            probe_pool([HubEndpoint(url), HubEndpoint(sound.url)]) as hubs,
        ):
            assert await hubs.shards() == [1]

    asyncio.run(main())


def test_a_hub_that_answers_and_needs_too_long_for_all_is_told_of() -> None:
    async def ask_on_and_on() -> None:
        async with ActedHub({1: blocks(1, 20)}) as hub, probe_pool([HubEndpoint(hub.url)], seconds=0.3) as hubs:
            while True:
                await hubs.info()

    with pytest.raises(HubUnavailable, match="did not tell all that was asked within 0 s"):
        asyncio.run(ask_on_and_on())
