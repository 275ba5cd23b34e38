import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from fc_pipeline.errors import HubError, HubRefused
from fc_pipeline.hub.reads import HubReads
from fc_pipeline_tests.support.acted_hub import ActedHub, Answer, json_answer, reads_for

T = TypeVar("T")
Respond = Callable[[str, dict[str, str]], Answer | None]


def with_hub(respond: Respond, use: Callable[[HubReads], Awaitable[T]]) -> tuple[T, ActedHub]:
    async def main() -> tuple[T, ActedHub]:
        async with ActedHub({1: [], 2: []}) as hub:
            hub.respond = respond
            reads = reads_for(hub)
            try:
                return await use(reads), hub
            finally:
                await reads.client.close()

    return asyncio.run(main())


async def items(pages: AsyncIterator[list[T]]) -> list[T]:
    return [item async for page in pages for item in page]


def message(number: int) -> dict[str, Any]:
    return {"hash": f"0x{number:040x}", "data": {"fid": 1}}


def hashes(raws: list[bytes]) -> list[int]:
    return [int(json.loads(raw)["hash"], 16) for raw in raws]


def paged(name: str, values: list[Any], size: int, end: dict[str, Any]) -> Respond:
    """One list in pages of `size` rows; the last page carries `end` in place of a token, a full one still a token."""

    def respond(path: str, params: dict[str, str]) -> Answer | None:
        start = int(params.get("pageToken", "+0"))
        page = values[start : start + size]
        token = {"nextPageToken": f"+{start + size}"} if len(page) == size else end
        return json_answer({name: page, **token})

    return respond


@pytest.mark.parametrize("end", [{"nextPageToken": ""}, {"nextPageToken": None}, {}])
@pytest.mark.parametrize("count", [0, 3, 4, 10])
def test_every_page_of_every_by_fid_list_is_read(end: dict[str, Any], count: int) -> None:
    asks: dict[str, Callable[[HubReads], AsyncIterator[list[bytes]]]] = {
        "/v1/castsByFid": lambda hub: hub.casts_by_fid(7),
        "/v1/reactionsByFid": lambda hub: hub.reactions_by_fid(7),
        "/v1/linksByFid": lambda hub: hub.links_by_fid(7),
        "/v1/userDataByFid": lambda hub: hub.user_data_by_fid(7),
        "/v1/verificationsByFid": lambda hub: hub.verifications_by_fid(7),
    }
    for path, ask in asks.items():
        raws, hub = with_hub(paged("messages", [message(n) for n in range(count)], 4, end), lambda h: items(ask(h)))  # noqa: B023
        assert hashes(raws) == list(range(count))
        assert all(request.startswith(path + "?fid=7&") for request in hub.requests)


def test_parameters_have_their_exact_names() -> None:
    def respond(path: str, params: dict[str, str]) -> Answer:
        return json_answer({"messages": [], "events": [], "fids": [], "signers": [], "nextPageToken": ""})

    async def use(hub: HubReads) -> None:
        await hub.events(2, 5, 9, 100, reverse=True)
        for pages in (
            hub.fids(2),
            hub.reactions_by_fid(7),
            hub.links_by_fid(7, "follow"),
            hub.on_chain_events_by_fid(7, "EVENT_TYPE_SIGNER"),
        ):
            async for _ in pages:
                pass

    _, hub = with_hub(respond, use)
    assert hub.requests == [
        "/v1/events?from_event_id=5&shard_index=2&page_size=100&stop_id=9&reverse=true",
        "/v1/fids?shard_id=2&pageSize=1000",
        "/v1/reactionsByFid?fid=7&reaction_type=None&pageSize=1000",
        "/v1/linksByFid?fid=7&link_type=follow&pageSize=1000",
        "/v1/onChainEventsByFid?fid=7&event_type=EVENT_TYPE_SIGNER&pageSize=1000",
    ]


def test_fids_go_on_over_short_and_empty_pages() -> None:
    pages = {None: ([1, 3], "a+/="), "a+/=": ([], "b"), "b": ([5], None)}

    def respond(path: str, params: dict[str, str]) -> Answer:
        fids, token = pages[params.get("pageToken")]
        return json_answer({"fids": fids, **({"nextPageToken": token} if token else {})})

    assert with_hub(respond, lambda hub: items(hub.fids(1)))[0] == [1, 3, 5]


def test_a_token_that_repeats_is_an_error() -> None:
    for token in ("same", b64encode(b"[null,[1]]").decode()):
        answer = json_answer({"messages": [message(1)], "nextPageToken": token})
        with pytest.raises(HubError, match="does not end"):
            with_hub(lambda path, params: answer, lambda hub: items(hub.casts_by_fid(1)))  # noqa: B023


def test_name_proofs_are_the_newest_of_each_name() -> None:
    def proof(name: str, timestamp: int) -> dict[str, Any]:
        return {
            "name": name,
            "timestamp": timestamp,
            "owner": "0x",
            "signature": "",
            "fid": 1,
            "type": "USERNAME_TYPE_FNAME",
        }

    answer = json_answer({"proofs": [proof("a", 5), proof("b", 1), proof("a", 9), proof("a", 9)]})
    raws, _ = with_hub(lambda path, params: answer, lambda hub: hub.username_proofs_by_fid(1))
    assert [(p["name"], p["timestamp"]) for p in map(json.loads, raws)] == [("a", 9), ("b", 1)]


def test_not_found_is_none_and_other_refusals_are_not() -> None:
    def refusal(detail: str) -> Respond:
        return lambda path, params: json_answer({"error": "Failed", "error_detail": detail}, 400)

    async def by_name(hub: HubReads) -> bytes | None:
        return await hub.username_proof_by_name("x")

    async def by_id(hub: HubReads) -> bytes | None:
        return await hub.event_by_id(1, 5)

    assert with_hub(refusal('status: NotFound, message: "Username proof not found"'), by_name)[0] is None
    found, hub = with_hub(refusal('status: Internal, message: "not_found/Event not found"'), by_id)
    assert found is None
    assert len(hub.requests) == 1
    with pytest.raises(HubRefused, match="no shard store"):
        with_hub(refusal('status: InvalidArgument, message: "no shard store for fid"'), by_id)


def test_a_message_that_is_no_json_fails_alone() -> None:
    body = b'{"messages": [{"hash": "0x1"}, {"hash": NaN}, {"hash": "0x2"}], "nextPageToken": ""}'
    raws, _ = with_hub(lambda path, params: Answer(200, body), lambda hub: items(hub.casts_by_fid(1)))
    assert raws == [b'{"hash": "0x1"}', b'{"hash": NaN}', b'{"hash": "0x2"}']


def test_info_and_storage_limits() -> None:
    limits = {"limits": [{"storeType": "None", "name": "STORAGE_LENDS", "limit": 2, "used": 1}], "units": 2}

    async def use(hub: HubReads) -> tuple[Any, Any]:
        return await hub.info(), await hub.storage_limits_by_fid(1)

    respond: Respond = lambda path, params: json_answer(limits) if "storage" in path else None  # noqa: E731
    (info, stored), _ = with_hub(respond, use)
    assert (info.numShards, sorted(shard.shardId for shard in info.shardInfos)) == (2, [0, 1, 2])
    assert (stored.units, stored.limits[0].name, stored.limits[0].used) == (2, "STORAGE_LENDS", 1)
