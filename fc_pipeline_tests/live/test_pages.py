"""Lists come out the same whatever the page size: no gap, no repetition, and from the shard that was asked."""

from itertools import pairwise

import msgspec

from fc_pipeline.hub.clock import HubClock
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.feed import Feed
from fc_pipeline.hub.wire import HubEvent, first_event_id
from fc_pipeline.sample_hub.homes import shard_of
from fc_pipeline_tests.live.conftest import LiveHub

EVENT = msgspec.json.Decoder(HubEvent)
BLOCKS = 20
BELOW_THE_HEAD = 10
WIDE_PAGE = 20_000
MAX_PAGES = 8
FIDS_PER_PAGE = 10
ATTEMPTS = 3


def events_in_pages(hub: LiveHub, shard: int, start: int, stop: int, page_size: int) -> list[bytes]:
    """The feed's own rule of paging: on from the last id + 1, until a short page (hub-api 3.1)."""
    found: list[bytes] = []
    while True:
        page = hub.ask(hub.reads.events(shard, start, stop, page_size))
        found += page
        if len(page) < page_size:
            return found
        start = EVENT.decode(page[-1]).id + 1


async def feed_blocks(hub: LiveHub, shard: int, first: int, last: int, page_size: int) -> list[EventBatch]:
    async with HubPool([hub.endpoint]) as pool:
        return [batch async for batch in Feed(pool, shard).blocks(first, last, page_size=page_size)]


def test_events_in_small_pages_are_those_of_one_page(hub: LiveHub) -> None:
    for shard in hub.shards:
        head, _ = hub.ask(HubClock(hub.reads, shard).head())
        last = head - BELOW_THE_HEAD
        first = last - BLOCKS + 1
        start, stop = first_event_id(first), first_event_id(last + 1)

        whole = hub.ask(hub.reads.events(shard, start, stop, WIDE_PAGE))
        assert len(whole) < WIDE_PAGE
        page_size = max(2, len(whole) // (MAX_PAGES - 1))
        assert events_in_pages(hub, shard, start, stop, page_size) == whole

        events = [EVENT.decode(raw) for raw in whole]
        assert all(earlier.id < later.id for earlier, later in pairwise(events))
        confirmed = {event.height: event.blockConfirmedBody for event in events if event.blockConfirmedBody}
        assert list(confirmed) == list(range(first, last + 1)), "every block opens with BLOCK_CONFIRMED (hub-api 3.4)"
        for height, body in confirmed.items():
            assert sum(event.height == height for event in events) <= body.totalEvents

        batches = hub.ask(feed_blocks(hub, shard, first, last, page_size))
        assert [raw for batch in batches for raw in batch.raws] == whole
        assert batches[0].from_height == first
        assert batches[-1].to_height == last
        assert all(earlier.to_height + 1 == later.from_height for earlier, later in pairwise(batches))


def test_casts_in_small_pages_are_those_of_one_page(hub: LiveHub, fids: list[int]) -> None:
    for fid in fids:
        whole, walked = casts_both_ways(hub, fid)
        assert walked == whole
        assert len(walked) == len(set(walked))


def casts_both_ways(hub: LiveHub, fid: int) -> tuple[list[bytes], list[bytes]]:
    """The first page, and the same casts in small pages; again if the user casts meanwhile."""
    whole: list[bytes] = []
    walked: list[bytes] = []
    for _ in range(ATTEMPTS):
        before = hub.items(hub.reads.casts_by_fid(fid), 1)
        page_size = max(1, -(-len(before) // (MAX_PAGES - 1)))
        walked = hub.items(hub.reads.casts_by_fid(fid, page_size), MAX_PAGES)[: len(before)]
        whole = hub.items(hub.reads.casts_by_fid(fid), 1)
        if whole == before:
            break
    return whole, walked


def test_fids_in_small_pages_are_those_of_one_page_and_of_their_shard(hub: LiveHub) -> None:
    seen: set[int] = set()
    for shard in hub.shards:
        walked = hub.items(hub.reads.fids(shard, FIDS_PER_PAGE), MAX_PAGES)
        # A page counts registrations, of which a few FIDs have two (hub-api 6.3).
        whole = hub.items(hub.reads.fids(shard, FIDS_PER_PAGE * MAX_PAGES), 1)
        assert walked
        assert walked == whole[: len(walked)]
        assert walked == sorted(walked)
        assert {shard_of(fid, hub.info.numShards) for fid in walked} == {shard}
        assert seen.isdisjoint(walked)
        seen.update(walked)
