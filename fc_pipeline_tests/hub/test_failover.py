import asyncio
import json
import logging
from typing import Any

import pytest

from fc_pipeline.errors import HubBehind, HubError, HubRefused, HubUnavailable, HubUntrusted, OtherHistory
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.feed import Feed
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import HubInfo
from fc_pipeline_tests.support.acted_hub import ActedHub, Answer, Waits, blocks, json_answer, pool_for

HUBBLE_INFO = {"version": "1.10.6", "isSyncing": False, "nickname": "hubble", "rootHash": "", "peerId": "x"}


def a_hub(last: int = 20, **attributes: Any) -> ActedHub:
    hub = ActedHub({1: blocks(1, last), 2: blocks(1, last, shard=2)})
    for name, value in attributes.items():
        setattr(hub, name, value)
    return hub


async def followed(first: ActedHub, second: ActedHub, cursor: int = 10, **options: Any) -> str:
    async with first, second, pool_for(first, second, **options) as pool:
        hub = await pool.follow(1, cursor)
        return "first" if hub.name == first.url else "second"


@pytest.mark.parametrize(
    "unfit",
    [
        {"num_shards": 3},
        {"log": {2: blocks(1, 20, shard=2), 3: blocks(1, 20, shard=3)}},
        {"max_heights": {1: 9}},
        {"block_delay": 5000},
        {"respond": lambda path, params: json_answer(HUBBLE_INFO)},
        {"respond": lambda path, params: Answer(503, b"down")},
        {"respond": lambda path, params: Answer(402, b"pay")},
        {"respond": lambda path, params: Answer(200, b"<html>login</html>")},
    ],
)
def test_an_unfit_hub_is_not_followed(unfit: dict[str, Any]) -> None:
    assert asyncio.run(followed(a_hub(**unfit), a_hub(), expected_shards=2)) == "second"
    assert asyncio.run(followed(a_hub(), a_hub(**unfit), expected_shards=2)) == "first"


@pytest.mark.parametrize(
    ("unfit", "says"),
    [
        ({"num_shards": 3}, "has 3 data shards where 2 are expected"),
        ({"log": {2: [], 3: []}}, r"does not serve shard \[1\], only \[0, 2, 3\]"),
        ({"max_heights": {1: 9}}, "is behind: its shard 1 is at height 9, but 10 was already read"),
        ({"respond": lambda path, params: json_answer(HUBBLE_INFO)}, "is a Hubble hub; fc_pipeline reads Snapchain"),
    ],
)
def test_the_only_hub_being_unfit_is_said(unfit: dict[str, Any], says: str) -> None:
    async def main() -> None:
        hub = a_hub(**unfit)
        async with hub, pool_for(hub, expected_shards=2) as pool:
            with pytest.raises(HubUntrusted, match=says):
                await pool.follow(1, 10)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("height", "delay_seconds", "kind"),
    [
        (9, 1, OtherHistory),
        (700, 1, HubBehind),
        (400, 100, OtherHistory),
        (9, 5000, HubUntrusted),
        (0, 0, HubUntrusted),
    ],
)
def test_a_hub_behind_whose_newest_block_is_new_has_nothing_to_catch_up_with(
    height: int, delay_seconds: int, kind: type[HubError]
) -> None:
    """A block a second: 800 heights behind, it would be as many seconds late."""

    async def main() -> HubError:
        hub = a_hub(max_heights={1: height, 2: height}, block_delay=delay_seconds)
        async with hub, pool_for(hub, expected_shards=2) as pool:
            with pytest.raises(HubUntrusted, match="is behind: its shard 1 is at height") as caught:
                await pool.follow(1, 809)
            return caught.value

    error = asyncio.run(main())
    assert type(error) is kind
    assert error.hint is not None
    assert ("another network" in error.hint, "wait" in error.hint) == (kind is OtherHistory, kind is not OtherHistory)


def test_all_hubs_unfit_names_each() -> None:
    async def main() -> None:
        one, other = a_hub(num_shards=3), a_hub(respond=lambda path, params: Answer(503, b"down"))
        async with one, other, pool_for(one, other, expected_shards=2) as pool:
            with pytest.raises(HubUnavailable) as caught:
                await pool.follow(1)
            assert one.url in str(caught.value)
            assert other.url in str(caught.value)

    asyncio.run(main())


def test_the_expected_shards_are_learnt_from_the_first() -> None:
    async def main() -> None:
        one, other = a_hub(), a_hub(num_shards=3)
        async with one, other, pool_for(one, other) as pool:
            assert await pool.shards() == [1, 2]
            await one.stop_listening()
            with pytest.raises(HubError):
                await pool.info()

    asyncio.run(main())


def test_a_static_log_is_read_though_stale_but_not_behind_the_cursor() -> None:
    year = 31_536_000
    assert asyncio.run(followed(a_hub(block_delay=year), a_hub(block_delay=year + 1))) == "first"
    assert asyncio.run(followed(a_hub(block_delay=year), a_hub(block_delay=5000))) == "second"
    assert asyncio.run(followed(a_hub(block_delay=year), a_hub(block_delay=5000, max_heights={1: 9}))) == "first"


def test_a_hub_that_catches_up_is_followed_again() -> None:
    async def main() -> None:
        hub = a_hub(max_heights={1: 9})
        async with hub, pool_for(hub) as pool:
            with pytest.raises(HubUntrusted):
                await pool.follow(1, 10)
            hub.max_heights = {}
            await pool.follow(1, 10)

    asyncio.run(main())


def test_a_little_lag_is_waited_for() -> None:
    async def main() -> None:
        hub = a_hub(max_heights={1: 9})

        class CatchesUp(Waits):
            async def sleep(self, seconds: float) -> None:
                await super().sleep(seconds)
                hub.max_heights = {1: hub.max_heights[1] + 1}

        waits = CatchesUp()
        async with hub, pool_for(hub, waits=waits) as pool:
            await pool.follow(1, 11)
            assert waits.slept == [1.0, 1.0]

    asyncio.run(main())


def test_a_hub_set_back_to_an_older_state_is_noticed() -> None:
    async def main() -> None:
        waits = Waits()
        hub = a_hub(last=60)
        async with hub, pool_for(hub, waits=waits) as pool:
            feed = Feed(pool, 1)
            assert sum([len(batch.raws) async for batch in feed.blocks(1)]) == 180
            hub.log = {1: blocks(1, 20), 2: blocks(1, 20, shard=2)}
            waits.now += 60
            with pytest.raises(HubUntrusted, match="at height 20, but 60 was already read"):
                await anext(feed.blocks(61))

    asyncio.run(main())


def test_a_hub_that_no_longer_has_the_history_is_left_while_it_is_followed() -> None:
    async def main() -> None:
        waits = Waits()
        one, other = a_hub(), a_hub()
        forked: set[str] = set()

        async def check(hub: HubReads, info: HubInfo) -> None:
            if hub.name in forked:
                raise HubUntrusted(f"{hub.name} has another history")

        async with one, other, pool_for(one, other, waits=waits) as pool:
            pool.note_history(check, 2)
            followed = await pool.follow(1)
            assert followed.name == one.url
            forked.add(one.url)
            waits.now += 31
            assert (await pool.follow(1)).name == other.url
            with pytest.raises(HubUntrusted, match="another history"):
                await pool.confirm(followed)
            forked.add(other.url)
            waits.now += 31
            with pytest.raises(HubUntrusted, match=f"{one.url} has another history.*{other.url} has another history"):
                await pool.follow(1)
            forked.clear()
            waits.now += 31
            assert (await pool.follow(1)).name == one.url

    asyncio.run(main())


def test_another_hub_may_be_preferred_for_what_it_has() -> None:
    async def main() -> None:
        one, other, unfit = a_hub(), a_hub(), a_hub(num_shards=3)
        async with one, other, unfit, pool_for(one, unfit, other) as pool:
            (second,) = await pool.others()
            assert second.name == other.url
            pool.prefer(second)
            assert await pool.follow(1) is second

    asyncio.run(main())


def test_failover_and_return_after_the_cool_down(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        waits = Waits()
        one, other = a_hub(), a_hub()
        async with one, other, pool_for(one, other, waits=waits, cool_down_seconds=60) as pool:
            await pool.follow(1, 10)
            one.respond = lambda path, params: Answer(500, b"boom")
            assert len(await pool.events(1, 0)) == 60
            assert (await pool.follow(1, 10)).name == other.url
            one.respond = lambda path, params: None
            waits.now += 59 - (waits.now - 1000)
            assert (await pool.follow(1, 10)).name == other.url
            waits.now += 62
            assert (await pool.follow(1, 10)).name == one.url
            switches = [text for text in caplog.messages if text.startswith("hub_switched shard=1 ")]
            assert len(switches) == 2
            assert f"from={one.url} to={other.url}" in switches[0]

    asyncio.run(main())


def test_a_hub_that_says_retry_later_rests_for_as_long() -> None:
    async def main() -> None:
        waits = Waits()
        one, other = a_hub(), a_hub()
        async with one, other, pool_for(one, other, waits=waits) as pool:
            one.respond = lambda path, params: Answer(429, b"", {"retry-after": "600"})
            await pool.info()
            asked = len(one.requests)
            waits.now += 500
            await pool.info()
            assert len(one.requests) == asked
            one.respond = lambda path, params: None
            waits.now += 200
            await pool.info()
            assert len(one.requests) == asked + 2  # vetted, then asked

    asyncio.run(main())


def test_a_list_starts_over_at_the_next_hub_and_gives_each_item_once() -> None:
    def casts(token_of_this_hub: str, dies: bool) -> Any:
        def respond(path: str, params: dict[str, str]) -> Answer | None:
            if path != "/v1/castsByFid":
                return None
            token = params.get("pageToken")
            if token is None:
                return json_answer({"messages": [{"hash": "0x1"}, {"hash": "0x2"}], "nextPageToken": token_of_this_hub})
            assert token == token_of_this_hub
            return Answer(503, b"") if dies else json_answer({"messages": [{"hash": "0x3"}], "nextPageToken": ""})

        return respond

    async def main() -> None:
        one, other = a_hub(respond=casts("a", True)), a_hub(respond=casts("b", False))
        async with one, other, pool_for(one, other) as pool:
            found = [json.loads(raw)["hash"] async for page in pool.casts_by_fid(1) for raw in page]
            assert found == ["0x1", "0x2", "0x3"]

    asyncio.run(main())


def test_a_refusal_is_an_answer_and_moves_to_no_other_hub() -> None:
    async def main() -> None:
        one, other = a_hub(), a_hub()
        async with one, other, pool_for(one, other) as pool:
            with pytest.raises(HubRefused, match="Shard not found"):
                await pool.events(7, 0)
            assert not other.requests

    asyncio.run(main())


def test_shards_and_lists_are_read_at_once() -> None:
    async def main() -> None:
        hub = a_hub(last=60)
        async with hub, pool_for(hub) as pool:

            async def count(shard: int) -> int:
                return sum([len(batch.raws) async for batch in Feed(pool, shard).blocks(1, page_size=7)])

            counts = await asyncio.gather(*(count(shard) for shard in (1, 2, 1, 2)))
            assert counts == [180] * 4
            assert len(hub.asked("/v1/info")) == 1

    asyncio.run(main())


def test_a_hub_dying_in_the_middle_loses_nothing() -> None:
    async def main() -> None:
        one, other = a_hub(last=200), a_hub(last=200)
        async with one, other, pool_for(one, other) as pool:
            ids: list[int] = []
            async for batch in Feed(pool, 1).blocks(1, page_size=20):
                ids += batch.event_ids
                if len(ids) > 100 and not other.requests:
                    await one.stop_listening()
            assert ids == [event["id"] for event in one.log[1]]
            assert other.asked("/v1/events")

    asyncio.run(main())


def test_a_feed_does_not_follow_a_hub_behind_its_cursor() -> None:
    async def main() -> None:
        one, other = a_hub(last=200), a_hub(last=50)

        async def read_until_it_dies(pool: HubPool) -> None:
            async for batch in Feed(pool, 1).blocks(1, page_size=50):
                if batch.to_height > 100:
                    await one.stop_listening()

        async with one, other, pool_for(one, other) as pool:
            with pytest.raises(HubError, match="is behind"):
                await read_until_it_dies(pool)
            assert not other.asked("/v1/events")

    asyncio.run(main())


def test_a_hub_is_vetted_by_what_it_says_after_each_of_two_that_want_it_vetted() -> None:
    """An answer that was asked for before the later one's records came says nothing of them."""

    async def main() -> int:
        async with a_hub() as hub, pool_for(hub) as pool:
            chosen = await pool.follow(None)
            before = len(hub.asked("/v1/info"))
            await asyncio.gather(pool.confirm(chosen), pool.confirm(chosen))
            return len(hub.asked("/v1/info")) - before

    assert asyncio.run(main()) == 2
