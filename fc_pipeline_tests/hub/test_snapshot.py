"""All records of an FID: those that the hub has, asked for only where it may have them."""

import asyncio
import json
from collections import defaultdict
from typing import Any

import httpx
import pytest

from fc_pipeline.backfill.fid_records import expected_messages, expected_requests, snapshot
from fc_pipeline.errors import HubRefused
from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.snapshot import CONTRACTS_FID, ids_after, ids_before, shard_of
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.acted_hub import ActedHub, Answer, json_answer, reads_for
from fc_pipeline_tests.support.events import Json, proof, user_data

FIDS = range(1, 41)


async def records_of(hub: HubReads, fid: int) -> tuple[dict[str, list[bytes]], int]:
    """The records by kind, and the requests they took."""
    own = HubReads(hub.client.counting())
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    async for page in snapshot(own, fid):
        found[page.kind] += page.records
    return dict(found), own.client.requests


def test_everything_that_a_hub_says_of_its_users():
    log = log_from_lines(list(generate(3, fids=40, events=3_000, events_per_second=30.0)))
    lists = {
        "casts": "castsByFid",
        "reactions": "reactionsByFid?reaction_type=None",
        "links": "linksByFid",
        "user_data": "userDataByFid",
        "verifications": "verificationsByFid",
    }
    types = ("SIGNER", "ID_REGISTER", "STORAGE_RENT", "TIER_PURCHASE", "CHANNEL_REGISTER")

    async def main(url: str) -> list[tuple[dict[str, list[bytes]], int, int, int]]:
        async with HubClient(HubEndpoint(url)) as client:
            hub = HubReads(client)
            found: list[tuple[dict[str, list[bytes]], int, int, int]] = []
            for fid in FIDS:
                limits = await hub.storage_limits_by_fid(fid)
                found.append((*await records_of(hub, fid), expected_requests(limits), expected_messages(limits)))
            return found

    with serving(log) as url, httpx.Client(base_url=url) as http:

        def asked(path: str, fid: int, name: str) -> list[Any]:
            return http.get(f"/v1/{path}{'&' if '?' in path else '?'}fid={fid}").json()[name]

        for fid, (records, requests, expected, messages) in zip(FIDS, asyncio.run(main(url)), strict=True):
            assert records.pop("keys_read") == [b""]
            got = {kind: [json.loads(record) for record in several] for kind, several in records.items()}
            for kind, path in lists.items():
                assert got.get(kind, []) == asked(path, fid, "messages")
            chain = [e for t in types for e in asked(f"onChainEventsByFid?event_type=EVENT_TYPE_{t}", fid, "events")]
            key = "transactionHash"
            assert sorted(e[key] for e in got["on_chain_events"]) == sorted(e[key] for e in chain)
            names = {p["name"] for p in asked("userNameProofsByFid", fid, "proofs")}
            assert {p["name"] for p in got.get("username_proofs", [])} == names
            assert requests == expected <= 13
            assert messages >= sum(len(got.get(kind, [])) for kind in lists)


EMPTY = {"messages": [], "events": [], "proofs": [], "signers": [], "nextPageToken": ""}


def limits_of(**used: int) -> Answer:
    names = ("CASTS", "LINKS", "REACTIONS", "USER_DATA", "VERIFICATIONS", "USERNAME_PROOFS")
    limits = [{"name": name, "limit": 100, "used": used.get(name, 0)} for name in names]
    return json_answer({"limits": limits, "units": 1, "tier_subscriptions": [{"expires_at": used.get("pro", 0)}]})


UNKNOWN_TYPE = Answer(400, b"Invalid query parameters: unknown variant")


def acted(limits: Answer, refused: str = "", refusal: Answer = UNKNOWN_TYPE) -> list[str]:
    """What is asked of a hub that says this of an FID's storage, and refuses what has this in its address."""

    async def main() -> list[str]:
        async with ActedHub() as hub:

            def respond(path: str, params: dict[str, str]) -> Answer:
                if path == "/v1/storageLimitsByFid":
                    return limits
                if refused and refused in params.get("event_type", ""):
                    return refusal
                return json_answer(EMPTY)

            hub.respond = respond
            reads = reads_for(hub)
            async with reads.client:
                await records_of(reads, 7)
            return [
                request.partition("event_type=EVENT_TYPE_")[2].partition("&")[0] or request.split("?")[0][4:]
                for request in hub.requests
            ]

    return asyncio.run(main())


ALWAYS = ["userNameProofsByFid", "SIGNER", "ID_REGISTER", "STORAGE_RENT", "CHANNEL_REGISTER"]
KEYS = "signersByFid"


def test_what_the_limits_call_empty_is_not_asked_for():
    assert acted(limits_of()) == ["storageLimitsByFid", *ALWAYS, KEYS]
    assert acted(limits_of(CASTS=1, pro=5)) == ["storageLimitsByFid", "castsByFid", *ALWAYS, "TIER_PURCHASE", KEYS]


def test_a_hub_that_does_not_tell_limits_is_asked_for_everything():
    asked = acted(Answer(400, b'{"error":"no","error_detail":"status: Unimplemented"}'))
    sets = ["castsByFid", "reactionsByFid", "linksByFid", "verificationsByFid", "userDataByFid"]
    assert asked == ["storageLimitsByFid", *sets, *ALWAYS, "TIER_PURCHASE", KEYS]


def test_a_hub_older_than_a_type_of_contract_event_has_none():
    assert acted(limits_of(pro=5), refused="CHANNEL_REGISTER")[-3:] == ["CHANNEL_REGISTER", "TIER_PURCHASE", KEYS]
    with pytest.raises(HubRefused, match="unknown variant"):
        acted(limits_of(), refused="STORAGE_RENT")


def test_a_refusal_for_another_reason_does_not_say_that_there_are_no_contract_events():
    """They would be deleted from the tables."""
    no_store = {"error": "Failed", "error_detail": 'status: InvalidArgument, message: "no shard store for fid"'}
    for refusal in (json_answer(no_store, 400), Answer(400, b"<html>bad request</html>"), Answer(404, b"Not Found")):
        with pytest.raises(HubRefused):
            acted(limits_of(pro=5), refused="TIER_PURCHASE", refusal=refusal)


def test_a_hub_without_the_endpoint_for_keys_is_asked_once_and_says_nothing_of_them():
    async def main() -> tuple[list[str], list[dict[str, list[bytes]]]]:
        async with ActedHub() as hub:

            def respond(path: str, params: dict[str, str]) -> Answer:
                return Answer(404, b"Not Found") if path == "/v1/signersByFid" else json_answer(EMPTY)

            hub.respond = respond
            reads = reads_for(hub)
            async with reads.client:
                found = [(await records_of(reads, fid))[0] for fid in (7, 8)]
            return [request.split("?")[0] for request in hub.requests], found

    requests, found = asyncio.run(main())
    assert requests.count("/v1/signersByFid") == 1
    assert found == [{}, {}]


@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_does_not_say_that_there_are_no_keys(status: int):
    """They would be closed in the tables."""

    async def main() -> None:
        async with ActedHub() as hub:

            def respond(path: str, params: dict[str, str]) -> Answer:
                return Answer(status, b"no") if path == "/v1/signersByFid" else json_answer(EMPTY)

            hub.respond = respond
            reads = reads_for(hub)
            async with reads.client:
                await records_of(reads, 7)

    with pytest.raises(HubRefused):
        asyncio.run(main())


def test_keys_are_read_page_by_page_without_those_of_the_registry():
    entries = [{"source": f"SIGNER_SOURCE_{source}", "key": key} for source, key in SIGNERS]
    pages = {"": (entries[:2], "more"), "more": (entries[2:], "")}

    async def main() -> list[bytes]:
        async with ActedHub() as hub:

            def respond(path: str, params: dict[str, str]) -> Answer:
                if path != "/v1/signersByFid":
                    return json_answer(EMPTY)
                assert params["pageSize"] == "1000"
                page, token = pages[params.get("pageToken", "")]
                return json_answer({"signers": page, **({"nextPageToken": token} if token else {})})

            hub.respond = respond
            reads = reads_for(hub)
            async with reads.client:
                found, _ = await records_of(reads, 7)
                with pytest.raises(ValueError, match="at least one"):
                    reads.signers_by_fid(7, 0)
            assert found["keys_read"] == [b""]
            return found["gasless_keys"]

    assert [json.loads(raw)["key"] for raw in asyncio.run(main())] == ["b", "c", "d"]


SIGNERS = (("ONCHAIN", "a"), ("OFFCHAIN", "b"), ("OFFCHAIN", "c"), ("NEW", "d"))


def test_contract_events_of_no_user():
    async def main() -> list[str]:
        async with ActedHub() as hub:
            hub.respond = lambda path, params: json_answer(EMPTY)
            reads = reads_for(hub)
            async with reads.client:
                await records_of(reads, CONTRACTS_FID)
            return [request.partition("event_type=EVENT_TYPE_")[2].partition("&")[0] for request in hub.requests]

    assert asyncio.run(main()) == ["SIGNER_MIGRATED", "CHANNEL_REGISTER"]


INFO = {
    "version": "0.14.2",
    "numShards": 2,
    "shardInfos": [{"shardId": 0, "maxHeight": 9}, {"shardId": 2, "maxHeight": 270}],
}


def test_heads_leave_room_for_the_nodes_behind_one_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def heads(url: str | None) -> tuple[dict[int, int], dict[int, int]]:
        async with ActedHub() as acted:
            acted.respond = lambda path, params: json_answer(INFO)
            # As a proxy, it answers for every other machine.
            monkeypatch.setenv("HTTP_PROXY", acted.url)
            monkeypatch.setenv("http_proxy", acted.url)
            async with HubClient(HubEndpoint(url or acted.url)) as client:
                hub = HubReads(client)
                return dict(await ids_before(hub)), dict(await ids_after(hub))

    assert asyncio.run(heads(None)) == ({2: (271 << 14) - 1}, {2: (271 << 14) - 1})
    assert asyncio.run(heads("http://hub.example")) == ({2: (151 << 14) - 1}, {2: (391 << 14) - 1})


def test_shards_of_users_on_the_live_network():
    """The documentation's sample of /v1/fids (hub-api 7.7)."""
    assert {shard_of(fid, 2) for fid in (1, 3, 5, 7, 11, 12, 15, 17, 18, 19, 21)} == {1}
    assert {shard_of(fid, 2) for fid in (2, 6, 226)} == {2}


def shows(fid: int, name: str) -> Json:
    return user_data(fid, "USERNAME", name)


@pytest.mark.parametrize(
    ("holder", "names"), [(7, ["listed", "renewed"]), (8, ["listed"])], ids=["its own", "another's by now"]
)
def test_a_shown_name_whose_proof_is_not_listed_is_asked_for_by_name(holder: int, names: list[str]):
    async def main() -> list[str]:
        async with ActedHub() as hub:

            def respond(path: str, params: dict[str, str]) -> Answer:
                match path:
                    case "/v1/storageLimitsByFid":
                        return limits_of(USER_DATA=1)
                    case "/v1/userDataByFid":
                        return json_answer({"messages": [shows(7, "renewed")], "nextPageToken": ""})
                    case "/v1/userNameProofsByFid":
                        return json_answer({"proofs": [proof("listed", 7, 5)]})
                    case "/v1/userNameProofByName":
                        assert params["name"] == "renewed"
                        return json_answer(proof("renewed", holder, 6))
                    case _:
                        return json_answer(EMPTY)

            hub.respond = respond
            reads = reads_for(hub)
            async with reads.client:
                found, _ = await records_of(reads, 7)
            return [json.loads(record)["name"] for record in found["username_proofs"]]

    assert asyncio.run(main()) == names
