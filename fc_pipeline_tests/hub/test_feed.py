import asyncio
from typing import Any

import pytest

from fc_pipeline.errors import HubError, HubUnavailable, HubUntrusted
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.hub.feed import Feed
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline_tests.support.acted_hub import (
    DISCONNECT,
    ActedHub,
    Answer,
    Event,
    block,
    blocks,
    failure,
    json_answer,
    pool_for,
)


async def read(hub: ActedHub, from_height: int, until_height: int | None = None, **options: Any) -> list[EventBatch]:
    async with pool_for(hub) as pool:
        return [batch async for batch in Feed(pool, 1).blocks(from_height, until_height, **options)]


def read_log(log: list[Event], from_height: int, until_height: int | None = None, **options: Any) -> list[EventBatch]:
    async def main() -> list[EventBatch]:
        async with ActedHub({1: log}) as hub:
            return await read(hub, from_height, until_height, **options)

    return asyncio.run(main())


def ids_of(batches: list[EventBatch]) -> list[int]:
    return [event_id for batch in batches for event_id in batch.event_ids]


def spans_of(batches: list[EventBatch]) -> list[tuple[int, int]]:
    """Covered height ranges, adjacent ones joined."""
    spans: list[tuple[int, int]] = []
    for batch in batches:
        if spans and spans[-1][1] + 1 == batch.from_height:
            spans[-1] = (spans[-1][0], batch.to_height)
        else:
            spans.append((batch.from_height, batch.to_height))
    return spans


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 30, 31, 1000])
def test_reads_everything_whatever_the_page_size(page_size: int) -> None:
    log = blocks(100, 109)
    batches = read_log(log, 100, page_size=page_size)
    assert ids_of(batches) == [event["id"] for event in log]
    assert spans_of(batches) == [(100, 109)]
    times = {height: at for batch in batches for height, at in batch.block_times.items()}
    assert times == {height: 1_700_000_000 + height for height in range(100, 110)}


def test_every_batch_holds_only_its_blocks() -> None:
    for batch in read_log(blocks(100, 120, events=5), 100, page_size=13):
        assert batch.event_ids[0] == first_event_id(batch.from_height)
        assert {event.id >> 14 for event in batch.events} == set(range(batch.from_height, batch.to_height + 1))
        assert len(batch.raws) == len(batch.event_ids) == len(batch.events)


def test_a_block_larger_than_a_page_is_whole() -> None:
    batches = read_log(block(7, 950) + block(8, 200) + block(9), 7, page_size=100)
    assert [(batch.to_height, len(batch.raws)) for batch in batches] == [(7, 951), (9, 204)]


def events_page(params: dict[str, str], log: list[Event]) -> list[Event]:
    low, stop = int(params["from_event_id"]), int(params.get("stop_id", 2**63))
    return [event for event in log if low <= event["id"] < stop]


@pytest.mark.parametrize("length", [1, 2, 4, 5, 7, 11])
def test_a_page_that_is_cut_in_the_middle_of_a_block_is_no_tip(length: int) -> None:
    """What stands before a hub may cut pages by their bytes: now shorter, now longer. No block comes in part."""
    log = blocks(100, 109, events=3)

    def cut(path: str, params: dict[str, str]) -> Answer | None:
        is_page = path == "/v1/events" and params["page_size"] == "1000"
        return json_answer({"events": events_page(params, log)[: length + len(hub.requests) % 3]}) if is_page else None

    async def main() -> None:
        batches: list[EventBatch] = []
        async with hub:
            hub.respond = cut
            while not batches or batches[-1].to_height < 109:
                batches += await read(hub, batches[-1].to_height + 1 if batches else 100, 109)
        assert ids_of(batches) == [event["id"] for event in log]

    hub = ActedHub({1: log})
    asyncio.run(main())


def test_an_empty_page_of_a_node_that_is_behind_does_not_make_half_a_block_whole() -> None:
    """Of two nodes behind one address, the one answers the first page, the other, a block behind, the second."""
    log = blocks(100, 104, events=9)

    def behind(path: str, params: dict[str, str]) -> Answer | None:
        if path != "/v1/events" or len(hub.asked("/v1/events")) == 1:
            return None
        return json_answer({"events": events_page(params, log[:-10])})

    async def main() -> list[tuple[int, int]]:
        async with hub:
            hub.respond = behind
            return spans_of(await read(hub, 100, page_size=len(log) - 3))

    hub = ActedHub({1: log})
    assert asyncio.run(main()) == [(100, 103)]


def test_until_height_is_inclusive_and_the_rest_is_not_read() -> None:
    batches = read_log(blocks(100, 109), 102, 104, page_size=4)
    assert spans_of(batches) == [(102, 104)]
    assert ids_of(batches) == [event["id"] for event in blocks(102, 104)]


def test_nothing_at_the_tip_and_nothing_for_an_empty_range() -> None:
    assert read_log(blocks(100, 109), 110) == []
    assert read_log(blocks(100, 109), 105, 104) == []
    assert read_log([], 0) == []


def test_until_above_the_head_proves_only_up_to_the_head() -> None:
    assert spans_of(read_log(blocks(100, 109), 105, 200)) == [(105, 109)]


def test_a_hub_that_caps_its_pages_does_not_end_the_feed() -> None:
    async def main() -> None:
        async with ActedHub({1: blocks(1, 50)}) as hub:
            hub.max_events = 10
            batches = await read(hub, 1, page_size=1000)
            assert ids_of(batches) == [event["id"] for event in hub.log[1]]
            assert spans_of(batches) == [(1, 50)]

    asyncio.run(main())


def test_pruned_heights_and_lost_blocks_are_holes() -> None:
    log = blocks(100, 103) + blocks(110, 112) + blocks(120, 120)
    for page_size in (1, 5, 1000):
        batches = read_log(log, 50, page_size=page_size)
        assert spans_of(batches) == [(100, 103), (110, 112), (120, 120)]
        assert ids_of(batches) == [event["id"] for event in log]


def test_a_hole_at_the_end_of_the_range_stays_a_hole() -> None:
    assert spans_of(read_log(blocks(100, 103) + blocks(110, 112), 100, 105)) == [(100, 103)]


def unconfirmed(*heights: int) -> list[Event]:
    return [failure(height, seq) for height in heights for seq in range(3)]


def test_without_block_confirmed_left_out_heights_are_covered() -> None:
    log = unconfirmed(100, 101, 105, 200)
    for page_size in (1, 4, 1000):
        assert spans_of(read_log(log, 102, page_size=page_size)) == [(102, 200)]
        assert spans_of(read_log(log, 100, 150, page_size=page_size)) == [(100, 150)]
        assert spans_of(read_log(log, 110, 150, page_size=page_size)) == [(110, 150)]


def test_without_block_confirmed_forgotten_heights_are_a_hole() -> None:
    assert spans_of(read_log(unconfirmed(100, 105), 90)) == [(100, 105)]
    assert spans_of(read_log(unconfirmed(100, 105), 90, 95)) == []


def test_times_are_estimated_without_block_confirmed() -> None:
    async def main() -> None:
        async with ActedHub({1: unconfirmed(100, 101, 105)}) as hub:
            hub.block_delay = 1000
            batches = await read(hub, 100)
            times = {height: at for batch in batches for height, at in batch.block_times.items()}
            assert [times[height] - times[105] for height in (100, 101)] == [-5, -4]

    asyncio.run(main())


def test_a_block_that_the_hub_is_deleting_is_not_complete() -> None:
    assert spans_of(read_log(block(99, 30)[20:] + blocks(100, 103), 99)) == [(100, 103)]


@pytest.mark.parametrize("page_size", [1, 10, 1000])
def test_poison_events_are_stepped_over_one_by_one(page_size: int) -> None:
    async def main() -> None:
        log = blocks(100, 140)
        poison = {log[5]["id"], log[6]["id"], log[60]["id"], log[-1]["id"]}
        async with ActedHub({1: log}) as hub:
            hub.poison = poison
            batches = await read(hub, 100, page_size=page_size)
            assert set(ids_of(batches)) == {event["id"] for event in log} - poison
            stepped_over = [bad for batch in batches for bad in batch.undecodable]
            assert {bad.event_id for bad in stepped_over} == poison
            assert all(bad.raw == b"" and "cannot send" in bad.detail for bad in stepped_over)
            assert spans_of(batches) == [(100, 140)]
            for batch in batches:
                for bad in batch.undecodable:
                    assert batch.from_height <= bad.near_id >> 14 <= batch.to_height

    asyncio.run(main())


def test_a_block_of_poison_only_still_proves_its_height() -> None:
    async def main() -> None:
        async with ActedHub({1: block(1) + block(2, 0) + block(3)}) as hub:
            hub.poison = {2 << 14}
            assert spans_of(await read(hub, 1)) == [(1, 3)]

    asyncio.run(main())


def test_poison_in_a_page_that_event_by_id_can_send_is_not_lost() -> None:
    async def main() -> None:
        log = blocks(1, 5)
        async with ActedHub({1: log}) as hub:
            sick = log[7]["id"]
            hub.poison = {sick}
            hub.respond = lambda path, params: json_answer(log[7]) if path == "/v1/eventById" else None
            batches = await read(hub, 1)
            assert ids_of(batches) == [event["id"] for event in log]
            assert not any(batch.undecodable for batch in batches)

    asyncio.run(main())


def test_a_hub_whose_feed_always_dies_is_unavailable_and_nothing_is_stepped_over() -> None:
    async def main() -> None:
        async with ActedHub({1: blocks(1, 5)}) as hub:
            hub.respond = lambda path, params: DISCONNECT if path == "/v1/events" else None
            with pytest.raises(HubUnavailable, match="closed without an answer"):
                await read(hub, 1)

    asyncio.run(main())


def test_pages_too_large_are_read_in_smaller_ones() -> None:
    async def main() -> None:
        async with ActedHub({1: blocks(1, 60)}) as hub, pool_for(hub, max_body_bytes=4000) as pool:
            batches = [batch async for batch in Feed(pool, 1).blocks(1)]
            assert ids_of(batches) == [event["id"] for event in hub.log[1]]

    asyncio.run(main())


def test_an_ignored_cursor_or_shard_is_noticed() -> None:
    async def main(answered: list[Event]) -> None:
        async with ActedHub({1: blocks(1, 50)}) as hub:
            hub.respond = lambda path, params: json_answer({"events": answered}) if path == "/v1/events" else None
            with pytest.raises(HubUntrusted):
                await read(hub, 20)

    asyncio.run(main(blocks(1, 50)))


def test_an_ignored_shard_is_noticed_though_the_ids_go_on() -> None:
    """Another shard's blocks at the heights that were asked for: nothing else about them is wrong."""

    async def main() -> None:
        async with ActedHub({1: blocks(1, 50), 2: blocks(1, 50, shard=2)}) as hub:

            def other_shard(path: str, params: dict[str, str]) -> Answer | None:
                return json_answer({"events": events_page(params, hub.log[2])}) if path == "/v1/events" else None

            hub.respond = other_shard
            with pytest.raises(HubUntrusted, match=r"answered events of shards \[2\] when asked for shard 1"):
                await read(hub, 20)

    asyncio.run(main())


def test_a_stray_event_of_another_shard_is_set_aside() -> None:
    stray = {**failure(101, 2), "shardIndex": 2}
    log = [*block(100), *block(101, 1), stray, *block(102)]
    batches = read_log(log, 100)
    assert [event.id for batch in batches for event in batch.events] == [e["id"] for e in log if e is not stray]
    assert [bad.reason for batch in batches for bad in batch.undecodable] == ["misplaced"]


@pytest.mark.parametrize("page_size", [1, 3, 4, 1000])
def test_the_newest_block_is_whole_where_its_last_event_has_no_id(page_size: int) -> None:
    """BLOCK_CONFIRMED says how many there are; a hub knows by itself where the one without an id stands."""
    nameless = {**failure(103, 3), "id": "?"}
    log = [*blocks(100, 102), *block(103, 3)[:-1]]

    def respond(path: str, params: dict[str, str]) -> Answer | None:
        if path != "/v1/events" or params.get("reverse"):
            return None
        events = [*events_page(params, log), *([nameless] if int(params["from_event_id"]) <= 103 << 14 | 3 else [])]
        return json_answer({"events": events[: int(params["page_size"])]})

    async def main() -> list[EventBatch]:
        async with ActedHub({1: log}) as hub:
            hub.respond = respond
            return await read(hub, 100, page_size=page_size)

    batches = asyncio.run(main())
    assert spans_of(batches) == [(100, 103)]
    assert [bad.event_id for batch in batches for bad in batch.undecodable] == [None]


def test_half_a_block_before_an_event_without_an_id_is_not_whole() -> None:
    """Fewer than announced, and who knows what the record without an id is: the block waits for what follows."""
    nameless = {**failure(103, 2), "id": "?"}
    log = [*blocks(100, 102), *block(103, 9)[:2]]

    def respond(path: str, params: dict[str, str]) -> Answer | None:
        return json_answer({"events": [*events_page(params, log), nameless]}) if path == "/v1/events" else None

    async def main() -> list[EventBatch]:
        async with ActedHub({1: log}) as hub:
            hub.respond = respond
            return await read(hub, 100)

    assert spans_of(asyncio.run(main())) == [(100, 102)]


def test_ids_out_of_order_and_absurd_ones_go_aside_and_do_not_move_the_cursor() -> None:
    log = blocks(100, 110)
    absurd, low, unreadable = failure(0, 0), failure(0, 0), failure(0, 0)
    absurd["id"], low["id"], unreadable["id"] = 2**60, 101 << 14, -3
    served = [*log[:8], absurd, *log[8:15], low, *log[15:20], unreadable, *log[20:]]

    async def main() -> list[EventBatch]:
        async with ActedHub({1: log}) as hub:

            def respond(path: str, params: dict[str, str]) -> Answer | None:
                if path != "/v1/events" or params["page_size"] == "1":
                    return None
                start = next(
                    (i for i, e in enumerate(served) if e in log and e["id"] >= int(params["from_event_id"])), 999
                )
                return json_answer({"events": served[start : start + int(params["page_size"])]})

            hub.respond = respond
            return await read(hub, 100, page_size=9)

    batches = asyncio.run(main())
    assert [event.id for batch in batches for event in batch.events] == [event["id"] for event in log]
    assert spans_of(batches) == [(100, 110)]
    assert {bad.event_id for batch in batches for bad in batch.undecodable} == {None}
    assert len({bad.raw for batch in batches for bad in batch.undecodable}) == 3


def test_strays_of_block_zero_are_set_aside() -> None:
    stray = failure(101, 2)
    stray["blockNumber"] = 0
    log = block(100) + block(101, 1) + [stray] + block(102)
    batches = read_log([failure(0, 5), *log], 0)
    assert [e.id for batch in batches for e in batch.events] == [event["id"] for event in log if event is not stray]
    assert [(bad.reason, bad.near_id) for batch in batches for bad in batch.undecodable] == [
        ("misplaced", log[log.index(stray) - 1]["id"])
    ]


def test_hubble_writes_block_number_zero_everywhere() -> None:
    log = [{**event, "blockNumber": 0, "shardIndex": 0} for event in unconfirmed(100, 101)]
    assert len(ids_of(read_log(log, 100))) == 6


def test_switching_hubs_resumes_at_the_block_boundary() -> None:
    async def main() -> None:
        log = block(1, 3) + block(2, 20) + block(3, 3)
        other = [{**event} for event in log]
        for event in other:
            if event["type"] == "HUB_EVENT_TYPE_MERGE_FAILURE" and event["blockNumber"] == 2:
                event["mergeFailureBody"] = {"code": "x", "reason": "other hub"}
        async with ActedHub({1: log}) as first, ActedHub({1: other}) as second:
            seen = 0

            def respond(path: str, params: dict[str, str]) -> Answer | None:
                nonlocal seen
                seen += path == "/v1/events"
                return Answer(503, b"down") if seen > 3 else None

            first.respond = respond
            async with pool_for(first, second) as pool:
                batches = [batch async for batch in Feed(pool, 1).blocks(1, page_size=5)]
            assert ids_of(batches) == [event["id"] for event in log]
            reasons = {
                raw for batch in batches for raw in batch.raws if b'"blockNumber": 2' in raw and b"reason" in raw
            }
            assert all(b"other hub" in raw for raw in reasons)
            assert f"from_event_id={2 << 14}&" in second.asked("/v1/events")[0]

    asyncio.run(main())


def test_a_feed_that_fails_everywhere_ends_with_an_error() -> None:
    async def main() -> None:
        async with ActedHub({1: blocks(1, 5)}) as hub, ActedHub({1: blocks(1, 5)}) as other:
            for one in (hub, other):
                one.respond = lambda path, params: Answer(500, b"boom") if path == "/v1/events" else None
            async with pool_for(hub, other) as pool:
                with pytest.raises(HubError, match="boom"):
                    async for _ in Feed(pool, 1).blocks(1):
                        pass

    asyncio.run(main())


def test_a_following_reader_asks_once_per_poll_at_the_tip() -> None:
    async def main() -> None:
        async with ActedHub({1: blocks(1, 40)}) as hub, pool_for(hub) as pool:
            feed = Feed(pool, 1)
            assert spans_of([batch async for batch in feed.blocks(1)]) == [(1, 40)]
            hub.requests.clear()
            for height in range(41, 44):
                hub.log[1] += block(height)
                assert spans_of([batch async for batch in feed.blocks(height)]) == [(height, height)]
            assert len(hub.requests) == 3

    asyncio.run(main())
