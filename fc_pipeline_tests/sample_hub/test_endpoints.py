"""By-FID answers agree with the log, and pages behave as hub-api 6 says."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx
import pytest

from fc_pipeline.sample_hub.log import EventLog, load_log
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.sample_hub.replay import Replay

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "hubble"


@pytest.fixture(scope="module")
def replay(lines: list[bytes]) -> Replay:
    return Replay(lines)


def hashes(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [message["hash"] for message in answer.json()["messages"]]


def walk(hub: httpx.Client, query: str, page_size: int) -> list[str]:
    """All hashes, following the tokens until an empty one."""
    found: list[str] = []
    token = ""
    while True:
        encoded = token.replace("+", "%2B")
        answer = hub.get(f"{query}&pageSize={page_size}&pageToken={encoded}")
        found += hashes(answer)
        token = answer.json()["nextPageToken"]
        if not token:
            return found


LISTS = {
    "castsByFid?": ("CAST_ADD", "CAST_REMOVE"),
    "reactionsByFid?reaction_type=None&": ("REACTION_ADD",),
    "linksByFid?": ("LINK_ADD",),
    "userDataByFid?": ("USER_DATA_ADD",),
    "verificationsByFid?": ("VERIFICATION_ADD_ETH_ADDRESS",),
}


@pytest.mark.parametrize("query", LISTS)
def test_lists_by_fid_agree_with_a_replay_of_the_log(hub: httpx.Client, replay: Replay, query: str):
    rows = 0
    for fid in range(1, 82):
        expected = replay.of_fid(fid, *LISTS[query])
        assert hashes(hub.get(f"/v1/{query}fid={fid}")) == expected
        assert hashes(hub.get(f"/v1/{query}fid={fid}&reverse=true")) == expected[::-1]
        rows += len(expected)
    assert rows > 50


def test_messages_come_as_they_came(hub: httpx.Client, lines: list[bytes]):
    casts = hub.get("/v1/castsByFid?fid=1").content
    log = b"\n".join(lines)
    for message in json.loads(casts)["messages"]:
        raw = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        assert raw in casts
        assert raw in log


@pytest.mark.parametrize("page_size", [1, 3, 1000])
def test_walks_of_pages_give_every_row_once(hub: httpx.Client, replay: Replay, page_size: int):
    assert walk(hub, "/v1/castsByFid?fid=2", page_size) == replay.of_fid(2, "CAST_ADD", "CAST_REMOVE")
    assert walk(hub, "/v1/linksByFid?fid=2&reverse=true", page_size) == replay.of_fid(2, "LINK_ADD")[::-1]


def test_a_full_last_page_has_a_token_and_an_empty_page_follows(hub: httpx.Client, replay: Replay):
    count = len(replay.of_fid(2, "LINK_ADD"))
    answer = hub.get(f"/v1/linksByFid?fid=2&page_size={count}")
    token = answer.json()["nextPageToken"]
    assert token
    key = b64decode(token)
    assert (key[:6].hex(), len(key)) == ("030000000202", 30)  # the last row's key in the node's database
    after = hub.get("/v1/linksByFid", params={"fid": 2, "page_token": token})
    assert after.json() == {"messages": [], "nextPageToken": ""}


def test_filters(hub: httpx.Client, replay: Replay):
    likes = hub.get("/v1/reactionsByFid?fid=1&reaction_type=Like").json()["messages"]
    assert {m["data"]["reactionBody"]["type"] for m in likes} == {"REACTION_TYPE_LIKE"}
    blocks = hub.get("/v1/linksByFid?fid=1&link_type=block").json()["messages"]
    assert all(m["data"]["linkBody"]["type"] == "block" for m in blocks)
    casts = replay.of_fid(1, "CAST_ADD", "CAST_REMOVE")
    times = [replay.rows[cast]["data"]["timestamp"] for cast in casts]
    low, high = times[2], times[-3]
    expected = [cast for cast, time in zip(casts, times, strict=True) if low <= time <= high]
    assert hashes(hub.get(f"/v1/castsByFid?fid=1&startTimestamp={low}&stop_timestamp={high}")) == expected


@pytest.mark.parametrize(
    "path",
    ["reactionsByFid?fid=1", "reactionsByFid?fid=1&reaction_type=1", "reactionsByFid?fid=1&reaction_type=like",
     "castsByFid", "castsByFid?fid=", "castsByFid?fid=x", "castById?fid=1", "linkById?fid=1&target_fid=2", "fids",
     "onChainEventsByFid?fid=1&event_type=1", "onChainEventsByFid?fid=1", "userNameProofByName",
     "castsByMention?pageSize=3", "reactionsByCast?target_hash=0x00", "castsByFid?fid=1&pageToken=!!",
     "castsByFid?fid=1&pageToken=x", "fids?shard_id=1&page_token=AAA"],
)  # fmt: skip
def test_missing_and_wrong_parameters_are_a_plain_400(hub: httpx.Client, path: str):
    answer = hub.get(f"/v1/{path}")
    assert (answer.status_code, answer.headers.get("content-type")) == (400, None)


@pytest.mark.parametrize(
    ("path", "error", "detail"),
    [
        ("castById?fid=1&hash=0x00", "Failed to get cast", 'status: NotFound, message: "cast not found"'),
        ("castById?fid=1&hash=zz", "Failed to get cast", "status: InvalidArgument"),
        ("reactionById?fid=1&reaction_type=Like&target_fid=1&target_hash=0x00", "Failed to get reaction",
         'status: NotFound, message: "cast not found"'),
        ("reactionById?fid=1&reaction_type=Like", "target not specified", None),
        ("linkById?fid=1&link_type=follow&target_fid=1", "Failed to get link", 'status: NotFound, message: "cast not'),
        ("linkById?fid=1&link_type=follow", "target not specified", None),
        ("linksByTargetFid?target_fid=1", "Failed to get links by target fid",
         'status: InvalidArgument, message: "link_type is required"'),
        ("linksByTargetFid?link_type=follow", "target not specified", None),
        ("castsByParent?fid=1", "Invalid request", "either"),
        ("fids?shard_id=0", "Failed to get fids", 'status: InvalidArgument, message: "no shard store for fid"'),
        ("userNameProofByName?name=nobody", "Failed to get username proof",
         'status: NotFound, message: "Username proof not found"'),
        ("userNameProofByName?name=nobody.eth", "Failed to get username proof",
         'status: NotFound, message: "ENS username proof not found"'),
        ("castsByMention?fid=1&pageToken=W251bGxd", "Failed to get casts by mention",
         'status: InvalidArgument, message: "Page token does not match number of shards"'),
    ],
)  # fmt: skip
def test_refusals_are_a_json_400(hub: httpx.Client, path: str, error: str, detail: str | None):
    answer = hub.get(f"/v1/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    body = answer.json()
    assert body["error"] == error
    assert set(body) == {"error", "error_detail"}
    assert body["error_detail"] is None if detail is None else body["error_detail"].startswith(detail)


def test_an_unknown_fid_has_empty_lists(hub: httpx.Client):
    for query in LISTS:
        assert hub.get(f"/v1/{query}fid=999999").text == '{"messages":[],"nextPageToken":""}'
    assert hub.get("/v1/userNameProofsByFid?fid=999999").text == '{"proofs":[]}'
    assert hub.get("/v1/onChainSignersByFid?fid=999999").text == '{"events":[]}'


def test_single_objects(hub: httpx.Client, replay: Replay):
    cast = replay.rows[replay.of_fid(3, "CAST_ADD")[0]]
    assert hub.get(f"/v1/castById?fid=3&hash={cast['hash'][2:].upper()}").json() == cast
    link = replay.rows[replay.of_fid(3, "LINK_ADD")[0]]
    body = link["data"]["linkBody"]
    query = f"fid=3&link_type={body['type']}&target_fid={body['targetFid']}"
    assert hub.get(f"/v1/linkById?{query}").json() == link
    reactions = [replay.rows[row_hash] for row_hash in replay.of_fid(3, "REACTION_ADD")]
    for reaction in reactions:
        body = reaction["data"]["reactionBody"]
        cast_id = body.get("targetCastId")
        kind = body["type"].removeprefix("REACTION_TYPE_").title()
        params = {"target_fid": cast_id["fid"], "target_hash": cast_id["hash"]} if cast_id else {}
        params |= {} if cast_id else {"target_url": body["targetUrl"]}
        answer = hub.get("/v1/reactionById", params={"fid": 3, "reaction_type": kind, **params})
        assert answer.json() == reaction


def test_a_removed_cast_is_not_found(hub: httpx.Client, replay: Replay):
    removes = [row for row in replay.rows.values() if row["data"]["type"] == "MESSAGE_TYPE_CAST_REMOVE"]
    target = b64decode(removes[0]["data"]["castRemoveBody"]["targetHash"]).hex()
    assert hub.get(f"/v1/castById?fid={removes[0]['data']['fid']}&hash=0x{target}").status_code == 400


def test_fids_count_events_and_leave_the_token_out_at_the_end(hub: httpx.Client, replay: Replay):
    found: list[int] = []
    sizes: list[int] = []
    for shard in (1, 2):
        token: str | None = None
        while True:
            params: dict[str, Any] = {"shard_id": shard, "page_size": 3, **({"page_token": token} if token else {})}
            answer = hub.get("/v1/fids", params=params).json()
            found += answer["fids"]
            sizes.append(len(answer["fids"]))
            token = answer.get("nextPageToken")
            if token is None:
                assert set(answer) == {"fids"}
                break
    registers = [e for e in replay.chain if e["type"] == "EVENT_TYPE_ID_REGISTER"]
    assert len(registers) > 80
    assert sorted(found) == list(range(1, 81))
    assert any(size < 3 for size in sizes)  # a page may hold fewer FIDs than asked, as it counts all ID events


def test_names(hub: httpx.Client, replay: Replay):
    fnames = 0
    for fid in range(1, 81):
        proofs = hub.get(f"/v1/userNameProofsByFid?fid={fid}").json()["proofs"]
        expected = [proof for proof in replay.names.values() if proof["fid"] == fid]
        assert sorted(map(json.dumps, proofs)) == sorted(map(json.dumps, expected))
        for proof in proofs:
            assert hub.get(f"/v1/userNameProofByName?name={proof['name']}").json() == proof
            copies = sum(other["name"] == proof["name"] for other in proofs)
            assert copies == (2 if proof["type"] == "USERNAME_TYPE_FNAME" else 1)
            fnames += copies == 2
    assert fnames


def test_on_chain_events(hub: httpx.Client, replay: Replay):
    for fid in (1, 2, 3):
        mine = [event for event in replay.chain if event["fid"] == fid]
        for kind in ("ID_REGISTER", "SIGNER", "STORAGE_RENT", "TIER_PURCHASE"):
            answer = hub.get(f"/v1/onChainEventsByFid?fid={fid}&event_type=EVENT_TYPE_{kind}&page_size=1").json()
            assert answer == {"events": [e for e in mine if e["type"] == f"EVENT_TYPE_{kind}"]}
        signers = [e for e in mine if e["type"] == "EVENT_TYPE_SIGNER"]
        gone = {e["signerEventBody"]["key"] for e in signers if not e["signerEventBody"]["eventType"].endswith("ADD")}
        active = hub.get(f"/v1/onChainSignersByFid?fid={fid}").json()
        assert active == {"events": [e for e in signers if e["signerEventBody"]["key"] not in gone]}
    registered = next(e for e in replay.chain if e["type"] == "EVENT_TYPE_ID_REGISTER")
    address = registered["idRegisterEventBody"]["to"]
    assert hub.get(f"/v1/onChainIdRegistryEventByAddress?address={address}").json() == registered


def test_storage_limits(lines: list[bytes], log: EventLog, replay: Replay):
    newest = log.shards[1].newest_unix or 0
    with serving(log, clock=lambda: newest) as base_url:
        limits = httpx.get(f"{base_url}/v1/storageLimitsByFid?fid=1").json()
    by_name = {limit["name"]: limit for limit in limits["limits"]}
    rents = [e for e in replay.chain if e["type"] == "EVENT_TYPE_STORAGE_RENT" and e["fid"] == 1]
    lends = [r["data"] for r in replay.rows.values() if r["data"]["type"] == "MESSAGE_TYPE_LEND_STORAGE"]
    units = sum(event["storageRentEventBody"]["units"] for event in rents)
    units += sum(d["lendStorageBody"]["numUnits"] for d in lends if d["lendStorageBody"]["toFid"] == 1)
    units -= sum(d["lendStorageBody"]["numUnits"] for d in lends if d["fid"] == 1)
    assert limits["units"] == max(0, units)
    assert by_name["CASTS"]["limit"] == 100 * limits["units"]
    assert by_name["CASTS"]["used"] == len(replay.of_fid(1, "CAST_ADD", "CAST_REMOVE"))
    assert by_name["REACTIONS"]["used"] == len(replay.of_fid(1, "REACTION_ADD", "REACTION_REMOVE"))
    assert by_name["LINKS"]["used"] == len(replay.of_fid(1, "LINK_ADD", "LINK_REMOVE", "LINK_COMPACT_STATE"))
    assert by_name["STORAGE_LENDS"]["storeType"] == "None"
    assert len(limits["tier_subscriptions"]) == 1


def test_many_shard_lists_always_return_a_token_and_start_again(hub: httpx.Client, replay: Replay):
    followers = {
        row_hash
        for row_hash, row in replay.rows.items()
        if row["data"]["type"] == "MESSAGE_TYPE_LINK_ADD"
        and row["data"]["linkBody"] | {"displayTimestamp": None}
        == {"type": "follow", "displayTimestamp": None, "targetFid": 1}
    }
    query = "/v1/linksByTargetFid?target_fid=1&link_type=follow"
    whole = hub.get(query)
    assert set(hashes(whole)) == followers
    assert whole.json()["nextPageToken"] == "W251bGwsbnVsbF0="
    again = hub.get(query, params={"target_fid": 1, "link_type": "follow", "pageToken": "W251bGwsbnVsbF0="})
    assert again.content == whole.content


def test_an_exhausted_shard_restarts_while_another_still_has_pages(hub: httpx.Client):
    query = {"target_fid": 1, "link_type": "follow"}
    pages: list[list[str]] = []
    token = None
    while True:
        answer = hub.get(
            "/v1/linksByTargetFid", params={**query, "page_size": 20, **({"page_token": token} if token else {})}
        )
        pages.append(hashes(answer))
        token = answer.json()["nextPageToken"]
        if all(entry is None for entry in json.loads(b64decode(token))):
            break
    seen = [row for page in pages for row in page]
    assert set(seen) == set(hashes(hub.get("/v1/linksByTargetFid", params=query)))
    assert len(pages) > 1


def test_casts_by_parent_and_mention_and_reactions_on_a_target(hub: httpx.Client, replay: Replay):
    casts = [row for row in replay.rows.values() if row["data"]["type"] == "MESSAGE_TYPE_CAST_ADD"]
    parent = next(c["data"]["castAddBody"]["parentCastId"] for c in casts if c["data"]["castAddBody"]["parentCastId"])
    replies = {c["hash"] for c in casts if c["data"]["castAddBody"]["parentCastId"] == parent}
    assert set(hashes(hub.get(f"/v1/castsByParent?fid={parent['fid']}&hash={parent['hash']}"))) == replies
    url = "https://warpcast.com/~/channel/dev"
    posts = {c["hash"] for c in casts if c["data"]["castAddBody"]["parentUrl"] == url}
    assert posts
    assert set(hashes(hub.get("/v1/castsByParent", params={"url": url}))) == posts
    assert hashes(hub.get("/v1/castsByParent", params={"url": url[:-1]})) == []  # longer URLs spoil the page
    mentions = {c["hash"] for c in casts if 1 in c["data"]["castAddBody"]["mentions"]}
    assert set(hashes(hub.get("/v1/castsByMention?fid=1"))) == mentions
    reactions = [r for r in replay.rows.values() if r["data"]["type"] == "MESSAGE_TYPE_REACTION_ADD"]
    target = next(
        r["data"]["reactionBody"]["targetCastId"] for r in reactions if "targetCastId" in r["data"]["reactionBody"]
    )
    expected = {r["hash"] for r in reactions if r["data"]["reactionBody"].get("targetCastId") == target}
    by_cast = hub.get(f"/v1/reactionsByCast?target_fid={target['fid']}&target_hash={target['hash']}")
    assert set(hashes(by_cast)) == expected
    assert by_cast.json()["nextPageToken"] == ""
    nested = f"/v1/reactionsByTarget?target_cast_id[fid]={target['fid']}&target_cast_id[hash]={target['hash']}"
    base_url = str(hub.base_url)
    assert set(hashes(raw_get(base_url, nested))) == expected


def raw_get(base_url: str, target: str) -> httpx.Response:
    """A request whose brackets stay as they are."""
    url = httpx.URL(base_url, raw_path=target.encode())
    return httpx.get(url)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the recorded hub answers are not here")
def test_a_recorded_log_gives_the_answers_that_were_recorded():
    names = {
        "casts": "castsByFid?", "reactions": "reactionsByFid?reaction_type=None&", "links": "linksByFid?",
        "userData": "userDataByFid?", "verifications": "verificationsByFid?",
    }  # fmt: skip
    compared = 0
    log = load_log(FIXTURES / "snapchain_shape" / "events.ndjson.gz")
    with serving(log) as base_url, httpx.Client(base_url=base_url) as client:
        for folder in FIXTURES.glob("fid_*"):
            fid = folder.name.removeprefix("fid_")
            for name, query in names.items():
                recorded = [
                    message["hash"]
                    for page in sorted(folder.glob(f"{name}_*.json"))
                    for message in json.loads(page.read_text())["messages"]
                ]
                assert hashes(client.get(f"/v1/{query}fid={fid}")) == recorded
                compared += len(recorded)
    assert compared > 700
