"""Generated messages have true hashes and signatures, by keys that were announced before."""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from fc_pipeline.hub.message_values import values_in
from fc_pipeline.proof.ed25519 import is_signed
from fc_pipeline.proof.message_schema import BODIES, Writing, encoded_data
from fc_pipeline.sample_hub.gasless_keys import generated_key
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import EventLog, load_log, log_from_lines
from fc_pipeline_tests.support.recorded_messages import messages_in, recorded_messages
from fc_pipeline_tests.support.referee import Referee

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "events.ndjson.gz"
START = 1_800_000_000.0
ORDERS = {Writing(by_number=True), Writing()}


def writings(message: dict[str, Any], orders: Iterable[Writing]) -> set[Writing]:
    """Those in which the message's data has its hash; the signature has to hold."""
    data = message["data"]
    kind = data["type"].removeprefix("MESSAGE_TYPE_")
    schema = BODIES[kind]
    values = values_in(schema.fields, data[schema.name])
    message_hash = bytes.fromhex(message["hash"][2:])
    assert is_signed(message_hash, b64decode(message["signature"]), bytes.fromhex(message["signer"][2:]))
    networks = {"FARCASTER_NETWORK_MAINNET": 1, "FARCASTER_NETWORK_TESTNET": 2, "FARCASTER_NETWORK_DEVNET": 3}
    encoded = {
        one: encoded_data(kind, data["fid"], data["timestamp"], networks[data["network"]], values, one)
        for one in orders
    }
    return {one for one, content in encoded.items() if blake3(content).digest(20) == message_hash}


def events_of(log: EventLog) -> list[dict[str, Any]]:
    """All visible ones, shard by shard."""
    return [json.loads(raw) for shard in log.shards.values() for raw in shard.raws[: shard.visible_end]]


def continued(log: EventLog) -> list[dict[str, Any]]:
    """What live mode writes after a log within ten seconds."""
    heads = {shard: rows.head_height for shard, rows in log.shards.items()}
    Endless(log, events_per_second=40, start_unix=START).advance(log, START + 10)
    return [event for event in events_of(log) if event["id"] >> 14 > heads[event["shardIndex"]]]


def merged_in(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["mergeMessageBody"]["message"] for event in events if "mergeMessageBody" in event]


COPIED = ("MESSAGE_TYPE_LEND_STORAGE", "MESSAGE_TYPE_VERIFICATION_", "MESSAGE_TYPE_CHANNEL_")


def unannounced(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merged messages whose signer was no key of their FID by then; copies of other shards are left out."""
    keys: set[tuple[int, str]] = set()
    found: list[dict[str, Any]] = []
    for event in events:
        told = event.get("mergeOnChainEventBody", {}).get("onChainEvent", {})
        if body := told.get("signerEventBody"):
            change = set.discard if body["eventType"] == "SIGNER_EVENT_TYPE_REMOVE" else set.add
            change(keys, (told["fid"], body["key"]))
        message = event.get("mergeMessageBody", {}).get("message")
        if message is None or message["data"]["type"].startswith(COPIED):
            continue
        fid = message["data"]["fid"]
        generated = generated_key(fid)
        is_gasless = generated is not None and generated.key.public == message["signer"]
        if not is_gasless and (fid, message["signer"]) not in keys:
            found.append(message)
    return found


@pytest.fixture(scope="module")
def signed() -> list[bytes]:
    """Few users, so that some would say the same twice in a second."""
    return list(generate(11, fids=12, events=2_500, events_per_second=60.0, gasless_keys=True, signed=True))


def test_every_message_is_signed_by_a_key_that_was_announced(signed: list[bytes]) -> None:
    events = list(map(json.loads, signed))
    messages = {message["hash"]: message for message in messages_in(events)}
    kinds = Counter(message["data"]["type"].removeprefix("MESSAGE_TYPE_") for message in messages.values())
    assert kinds.keys() == BODIES.keys()
    explained = [writings(message, ORDERS) for message in messages.values()]
    assert all(explained)
    assert {frozenset(one) for one in explained} > {frozenset({one}) for one in ORDERS}, "both orders are written"
    assert unannounced(events) == []


def test_nobody_says_the_same_message_twice(signed: list[bytes]) -> None:
    referee = Referee()
    times: Counter[tuple[int, int, str]] = Counter()
    live: set[tuple[int, str]] = set()
    for raw in signed:
        referee.evaluate(raw)
        event = json.loads(raw)
        body = event.get("mergeMessageBody", {})
        gone = event.get("pruneMessageBody") or event.get("revokeMessageBody")
        for one in (*body.get("deletedMessages", ()), *([gone["message"]] if gone else ())):
            live.discard((event["shardIndex"], one["hash"]))
        if body:
            key = event["shardIndex"], body["message"]["hash"]
            assert key not in live
            live.add(key)
            data = body["message"]["data"]
            times[data["fid"], data["timestamp"], data["type"]] += 1
    assert times.most_common(1)[0][1] > 3, "so many in a second that some would be the same"


def test_the_same_seed_signs_the_same_bytes_and_the_events_are_those_of_an_unsigned_log(signed: list[bytes]) -> None:
    again = generate(11, fids=12, events=2_500, events_per_second=60.0, gasless_keys=True, signed=True)
    assert list(again) == signed
    unsigned = list(generate(11, fids=12, events=2_500, events_per_second=60.0, gasless_keys=True))
    assert [kind_of(raw) for raw in unsigned] == [kind_of(raw) for raw in signed]


def kind_of(raw: bytes) -> tuple[str, int, int]:
    event = json.loads(raw)
    return event["type"], event["id"], event["shardIndex"]


def test_life_goes_on_after_the_sample_with_the_keys_of_its_users() -> None:
    log = load_log(SAMPLE)
    signed_before = {message["signer"] for message in merged_in(events_of(log))}
    lived = merged_in(continued(log))
    assert len(lived) > 150
    assert all(writings(message, ORDERS) for message in lived)
    assert unannounced(events_of(log)) == []
    assert len({message["signer"] for message in lived} & signed_before) > 25


def test_users_of_a_log_made_elsewhere_add_a_key_before_they_sign() -> None:
    log = log_from_lines(generate(3, fids=30, events=1_500, events_per_second=40.0))
    lived = merged_in(continued(log))
    assert len(lived) > 150
    assert all(writings(message, ORDERS) for message in lived)
    assert unannounced(events_of(log)) == []


def test_values_of_recorded_json_are_those_of_the_hash(shared_fixtures: Path) -> None:
    ways = [Writing(*choices) for choices in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    messages = [one for one in recorded_messages(shared_fixtures / "snapchain") if kind_name(one) in BODIES]
    assert {kind_name(one) for one in messages} == BODIES.keys() - {"USERNAME_PROOF"}
    assert all(writings(message, ways) for message in messages)


def kind_name(message: dict[str, Any]) -> str:
    return message["data"]["type"].removeprefix("MESSAGE_TYPE_")
