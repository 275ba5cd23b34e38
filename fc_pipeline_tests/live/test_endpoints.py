"""A hub of the live network answers as hub-api says: itself, its shards' events, users; also to five at once."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from fc_pipeline.hub.clock import HubClock
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import HubEvent, Message, UsernameProof, first_event_id, height_of
from fc_pipeline_tests.live.conftest import STALE_AFTER_SECONDS, LiveHub

EVENT = msgspec.json.Decoder(HubEvent)
MESSAGE = msgspec.json.Decoder(Message)
PROOF = msgspec.json.Decoder(UsernameProof)
HASH = re.compile("0x[0-9a-f]{40}")
PAGES_READ = 3
BELOW_THE_HEAD = 10
"""Blocks so deep are at every node behind one address."""


def messages(hub: LiveHub, pages: AsyncIterator[list[bytes]]) -> list[Message]:
    return [MESSAGE.decode(raw) for raw in hub.items(pages, PAGES_READ)]


def test_the_hub_says_what_it_is(hub: LiveHub) -> None:
    info = hub.ask(hub.reads.info())
    assert info.version
    assert info.numShards >= 1
    by_id = {shard.shardId: shard for shard in info.shardInfos}
    assert set(hub.shards) <= by_id.keys()
    for shard in hub.shards:
        assert by_id[shard].maxHeight >= height_of(first_event_id(1))
        assert by_id[shard].blockDelay <= STALE_AFTER_SECONDS


def test_every_shard_has_events_that_say_where_they_belong(hub: LiveHub) -> None:
    for shard in hub.shards:
        (oldest,) = hub.ask(hub.reads.events(shard, 0, page_size=1))
        (newest,) = hub.ask(hub.reads.events(shard, 0, page_size=1, reverse=True))
        first, last = EVENT.decode(oldest), EVENT.decode(newest)
        assert first.id < last.id
        assert [first.shardIndex, last.shardIndex] == [shard, shard]
        assert [first.blockNumber, last.blockNumber] == [first.height, last.height]


def test_an_event_is_the_same_by_its_id(hub: LiveHub) -> None:
    for shard in hub.shards:
        head, _ = hub.ask(HubClock(hub.reads, shard).head())
        block_id = first_event_id(head - BELOW_THE_HEAD)
        (listed,) = hub.ask(hub.reads.events(shard, block_id, page_size=1))
        assert EVENT.decode(listed).id == block_id
        single = hub.ask(hub.reads.event_by_id(shard, block_id))
        assert single is not None
        assert msgspec.json.decode(single) == msgspec.json.decode(listed)


def test_there_is_nothing_above_the_tip(hub: LiveHub) -> None:
    for shard in hub.shards:
        (newest,) = hub.ask(hub.reads.events(shard, 0, page_size=1, reverse=True))
        beyond = first_event_id(EVENT.decode(newest).height + 100_000)
        assert hub.ask(hub.reads.events(shard, beyond, page_size=1)) == []
        assert hub.ask(hub.reads.event_by_id(shard, beyond)) is None


def test_the_head_of_every_shard_is_of_now(hub: LiveHub) -> None:
    for shard in hub.shards:
        _, head_unix = hub.ask(HubClock(hub.reads, shard).head())
        assert abs(time.time() - head_unix) <= STALE_AFTER_SECONDS, "the hub stands still, or a clock is wrong"


def test_user_data_of_known_users(hub: LiveHub, fids: list[int]) -> None:
    found = 0
    for fid in fids:
        data = [message.data for message in messages(hub, hub.reads.user_data_by_fid(fid))]
        assert {one.fid for one in data} <= {fid}
        assert {one.type for one in data} <= {"MESSAGE_TYPE_USER_DATA_ADD"}
        kinds = [one.userDataBody.type for one in data if one.userDataBody]
        assert len(kinds) == len(data) == len(set(kinds))
        found += len(data)
    assert found > 0


def test_casts_of_known_users(hub: LiveHub, fids: list[int]) -> None:
    found = 0
    for fid in fids:
        casts = messages(hub, hub.reads.casts_by_fid(fid))
        assert {cast.data.fid for cast in casts} <= {fid}
        assert {cast.data.type for cast in casts} <= {"MESSAGE_TYPE_CAST_ADD", "MESSAGE_TYPE_CAST_REMOVE"}
        assert all(HASH.fullmatch(cast.hash) for cast in casts)
        places = [(cast.data.timestamp, cast.hash) for cast in casts]
        assert places == sorted(set(places)), "oldest first, each once (hub-api 6.1)"
        found += len(casts)
    assert found > 0


def test_names_of_known_users(hub: LiveHub, fids: list[int]) -> None:
    for fid in fids:
        proofs = [PROOF.decode(raw) for raw in hub.ask(hub.reads.username_proofs_by_fid(fid))]
        assert {proof.fid for proof in proofs} <= {fid}
        names = [(proof.name, proof.type) for proof in proofs]
        assert len(names) == len(set(names))


def test_five_requests_at_once_get_their_own_answers(hub: LiveHub) -> None:
    """All five are about what does not change any more."""
    first, last = hub.shards[0], hub.shards[-1]
    heads = {shard: hub.ask(HubClock(hub.reads, shard).head())[0] for shard in (first, last)}

    def blocks(shard: int, below_head: int, *, reverse: bool = False) -> Callable[[HubReads], Awaitable[object]]:
        height = heads[shard] - below_head
        start, stop = first_event_id(height), first_event_id(height + 3)
        return lambda reads: reads.events(shard, start, stop, reverse=reverse)

    async def first_fids(reads: HubReads) -> list[int]:
        return await anext(aiter(reads.fids(last, 5)))

    questions: list[Callable[[HubReads], Awaitable[object]]] = [
        blocks(first, BELOW_THE_HEAD),
        blocks(last, 20),
        blocks(first, 30, reverse=True),
        lambda reads: reads.event_by_id(last, first_event_id(heads[last] - BELOW_THE_HEAD)),
        first_fids,
    ]

    async def one_by_one() -> list[object]:
        return [await question(hub.reads) for question in questions]

    async def at_once() -> list[object]:
        return await asyncio.gather(*(question(hub.reads) for question in questions))

    alone = hub.ask(one_by_one())
    assert all(alone)
    assert hub.ask(at_once()) == alone
