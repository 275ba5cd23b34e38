"""`/v1/signersByFid` and `/v1/signer`: what a node says of the registry's keys and of gasless ones."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.sample_hub.gasless_keys import ALL_SCOPES, GaslessKey, GaslessKeys
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.generator.keyring import keyring_of
from fc_pipeline.sample_hub.generator.resume import world_of
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving_hub
from fc_pipeline.sample_hub.state import HubState

FID = 1
SCOPES = ("MESSAGE_TYPE_CAST_ADD",)


def key(number: int, **changed: Any) -> GaslessKey:
    given = {"added_at": 1_793_000_000, "last_used_at": 1_793_000_400, "ttl": 600, "request_fid": 9152, **changed}
    return GaslessKey(f"0x{number:064x}", scopes=SCOPES, nonce=number, **given)


@pytest.fixture(scope="module")
def hub(log: EventLog) -> Iterator[httpx.Client]:
    """A hub where FID 1 has two gasless keys, and had a third."""
    sample = SampleHub(log, clock=lambda: 1_794_000_000)
    for number in (2, 1, 3):
        sample.state.keys.put(FID, key(number))
    sample.state.keys.remove(FID, key(3).key)
    with serving_hub(sample) as url, httpx.Client(base_url=url) as client:
        yield client


def signers(hub: httpx.Client, **params: Any) -> dict[str, Any]:
    return hub.get("/v1/signersByFid", params={"fid": FID, **params}).json()


def test_the_keys_of_the_registry_come_first_then_the_gasless_ones_by_their_bytes(hub: httpx.Client) -> None:
    answer = signers(hub)
    events = hub.get(f"/v1/onChainSignersByFid?fid={FID}").json()["events"]
    onchain, gasless = answer["signers"][: len(events)], answer["signers"][len(events) :]
    assert [one["onChainEvent"] for one in onchain] == events != []
    assert all(one["source"] == "SIGNER_SOURCE_ONCHAIN" and "requestFid" not in one for one in onchain)
    assert gasless == [
        {
            "source": "SIGNER_SOURCE_OFFCHAIN",
            "key": key(number).key,
            "keyType": 1,
            "fid": FID,
            "addedAt": 1_793_000_000,
            "lastUsedAt": 1_793_000_400,
            "ttl": 600,
            "expiresAt": 1_793_001_000,
            "scopes": list(SCOPES),
            "requestFid": 9152,
            "nonce": number,
        }
        for number in (1, 2)
    ]
    del answer["signers"]
    assert answer == {"gaslessSignerCount": 2, "gaslessSignerLimit": 1000, "currentUserNonce": 3}
    back = signers(hub, reverse="true")["signers"]
    assert back == [*reversed(onchain), *reversed(gasless)]


def test_pages_are_of_both_kinds_together(hub: httpx.Client) -> None:
    whole = signers(hub)["signers"]
    found: list[Any] = []
    page = signers(hub, pageSize=1)
    while "nextPageToken" in page:
        found += page["signers"]
        page = signers(hub, page_size=1, page_token=page["nextPageToken"])
    assert found + page["signers"] == whole
    refused = hub.get(f"/v1/signersByFid?fid={FID}&page_token=AA==")
    assert (refused.status_code, refused.json()["error"]) == (400, "Failed to get signers")


def test_pages_of_nothing_never_end(hub: httpx.Client) -> None:
    page = signers(hub, page_size=0)
    for _ in range(3):
        assert page["signers"] == []
        page = signers(hub, page_size=0, page_token=page["nextPageToken"])


def test_an_fid_that_nobody_knows_has_no_keys(hub: httpx.Client) -> None:
    empty = {"signers": [], "gaslessSignerCount": 0, "gaslessSignerLimit": 1000, "currentUserNonce": 0}
    assert hub.get("/v1/signersByFid?fid=999999").json() == empty


@pytest.mark.parametrize(
    ("signer", "detail"),
    [
        ("0x00", "status: InvalidArgument, message: \"bad_request.validation_failure/gasless-key store: expected "
         "32-byte key, got 1\", details: [], metadata: MetadataMap { headers: {} }"),
        ("0x" + "00" * 32, "status: NotFound, message: \"Active signer not found\", details: [], metadata: MetadataMap "
         "{ headers: {} }"),
    ],
)  # fmt: skip
def test_one_signer(hub: httpx.Client, signer: str, detail: str) -> None:
    for entry in signers(hub)["signers"]:
        if entry.get("onChainEvent", {}).get("signerEventBody", {}).get("eventType", "ADD").endswith("ADD"):
            assert hub.get(f"/v1/signer?fid={FID}&signer={entry['key']}").json() == {"signer": entry}
    refused = hub.get(f"/v1/signer?fid={FID}&signer={signer}")
    assert (refused.status_code, refused.json()) == (400, {"error": "Failed to get signer", "error_detail": detail})


def test_generated_keys_are_known_from_their_first_message_on_and_end_in_their_own_ways() -> None:
    """One that gave itself up has left nothing but the user's nonce; one that is not used any more has expired."""
    lines = list(generate(7, fids=80, events=6_000, events_per_second=40.0, gasless_keys=True))
    state = SampleHub(log_from_lines(lines)).state
    rings = {fid: ring for fid in range(1, 81) if (ring := keyring_of(fid)) and state.keys.uses(fid, ring.key.public)}
    listed = {fid: state.keys.of_fid(fid) for fid in rings}
    gave_up = [fid for fid, keys in listed.items() if not keys]
    assert gave_up != []
    assert all(state.keys.uses(fid, rings[fid].key.public) == rings[fid].generated.most_uses for fid in gave_up)
    assert all(state.keys.nonce_of(fid) == 1 for fid in rings)
    lasting = [keys[0] for fid, keys in listed.items() if keys and rings[fid].generated.most_uses is None]
    stopped = [keys[0] for keys in listed.values() if keys and keys[0].ttl == 600]
    assert lasting != []
    assert stopped != []
    assert all(one.scopes == ALL_SCOPES and one.request_fid in (9152, 309_857) for one in (*lasting, *stopped))
    known = {ring.key.public for ring in rings.values()}
    signed = [json.loads(line).get("mergeMessageBody", {}).get("message") for line in lines]
    kinds = {one["data"]["type"] for one in signed if one and one["signer"] in known}
    assert {"MESSAGE_TYPE_CAST_ADD", "MESSAGE_TYPE_REACTION_ADD"} <= kinds <= set(ALL_SCOPES)


def test_a_use_moves_the_last_one_only_after_five_minutes() -> None:
    keys = GaslessKeys()
    signer = "0x" + "ab" * 32
    keys.put(FID, GaslessKey(signer, 1_793_000_000, 1_793_000_000, 60, SCOPES, 7, 1))
    found: list[int] = []
    for number, seconds in enumerate((300, 301, 500, 602)):
        timestamp = 1_793_000_000 + seconds - FARCASTER_EPOCH_UNIX
        keys.note_use({"data": {"fid": FID, "timestamp": timestamp}, "signer": signer, "hash": f"0x{number}"})
        found.append(keys.of_fid(FID)[0].last_used_at - 1_793_000_000)
    assert found == [0, 301, 301, 602]


def test_life_that_goes_on_after_a_log_goes_on_with_its_keys() -> None:
    log = log_from_lines(list(generate(7, fids=40, events=2_000, events_per_second=40.0, gasless_keys=True)))
    state = HubState()
    state.follow(log)
    with_keys = {user.fid: user.keyring for user in world_of(state, 2).users if user.keyring}
    assert with_keys != {}
    assert all(ring.uses == state.keys.uses(fid, ring.key.public) > 0 for fid, ring in with_keys.items())
