import asyncio
import gzip
import json
from pathlib import Path

from fc_pipeline.hub.decode import decode_in_order, split_page
from fc_pipeline.hub.feed import Feed
from fc_pipeline.hub.paging import raw_page
from fc_pipeline_tests.support.acted_hub import ActedHub, failure, pool_for


def test_a_recorded_log_in_snapchain_shape_is_read_whole(shared_fixtures: Path) -> None:
    with gzip.open(shared_fixtures / "hubble" / "snapchain_shape" / "events.ndjson.gz") as lines:
        log = [json.loads(line) for line in lines]

    async def main() -> None:
        async with ActedHub({1: log}) as hub, pool_for(hub) as pool:
            hub.block_delay = 60_000_000
            batches = [batch async for batch in Feed(pool, 1).blocks(0, page_size=300)]
        raws = [json.loads(raw) for batch in batches for raw in batch.raws]
        assert raws == log
        assert sum(len(batch.events) for batch in batches) == len(log)
        assert (batches[0].from_height, batches[-1].to_height) == (log[0]["id"] >> 14, log[-1]["id"] >> 14)
        times = {height: at for batch in batches for height, at in batch.block_times.items()}
        assert set(times) == {event["id"] >> 14 for event in log}
        assert sorted(times.values()) == [times[height] for height in sorted(times)]

    asyncio.run(main())


def test_recorded_hubble_pages_decode_without_a_loss(shared_fixtures: Path) -> None:
    pages = sorted((shared_fixtures / "hubble" / "events").glob("page_*.json"))
    raws = [raw for page in pages for raw in split_page(page.read_bytes())]
    decoded = decode_in_order(raws)
    assert len(decoded.events) == len(raws) == 1999
    assert not decoded.undecodable


def test_recorded_by_fid_answers_split_into_their_messages(shared_fixtures: Path) -> None:
    answers = sorted((shared_fixtures / "hubble").glob("fid_*/casts_*.json"))
    assert answers
    for answer in answers:
        body = answer.read_bytes()
        page = raw_page("messages")(body)
        assert [json.loads(raw) for raw in page.items] == json.loads(body)["messages"]


def test_poison_is_found_through_a_pool_as_well() -> None:
    async def main() -> None:
        log = [failure(height, seq) for height in range(100, 105) for seq in (0, 1)]
        async with ActedHub({1: log}) as one, ActedHub({1: log}) as other, pool_for(one, other) as pool:
            one.poison = other.poison = {log[0]["id"], log[5]["id"]}
            batches = [batch async for batch in Feed(pool, 1).blocks(90)]
            assert {bad.event_id for batch in batches for bad in batch.undecodable} == one.poison
            assert sum(len(batch.raws) for batch in batches) == 8

    asyncio.run(main())
