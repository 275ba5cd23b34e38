import gzip
import json
from base64 import b64decode
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from fc_pipeline.errors import ConfigError
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.generator.keccak import keccak256
from fc_pipeline.sample_hub.generator.profiles import base58
from fc_pipeline.sample_hub.homes import shard_of
from fc_pipeline.sample_hub.make_sample import make_sample
from fc_pipeline_tests.support.referee import Referee

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "events.ndjson.gz"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones():
    first = list(generate(3, fids=30, events=800))
    assert first == list(generate(3, fids=30, events=800))
    assert first != list(generate(4, fids=30, events=800))


@pytest.mark.parametrize("start_unix", [1_793_491_200, 1_760_000_000])
def test_every_event_follows_the_protocol(start_unix: int):
    """The second start lies before protocol V19, when a compact state touched links of all types."""
    referee = Referee()
    for raw in generate(11, fids=60, events=20_000, start_unix=start_unix, events_per_second=60, unknown_types=True):
        referee.evaluate(raw)
    assert set(referee.due.values()) == {0}
    for kind in (
        "BLOCK_CONFIRMED", "MERGE_MESSAGE", "PRUNE_MESSAGE", "REVOKE_MESSAGE", "MERGE_USERNAME_PROOF", "MERGE_FAILURE",
        "MERGE_ON_CHAIN_EVENT", "NOT_YET_INVENTED", "EVENT_TYPE_ID_REGISTER", "EVENT_TYPE_SIGNER",
        "EVENT_TYPE_SIGNER_MIGRATED", "EVENT_TYPE_STORAGE_RENT", "EVENT_TYPE_TIER_PURCHASE",
        "EVENT_TYPE_CHANNEL_REGISTER", "USERNAME_TYPE_FNAME", "USERNAME_TYPE_ENS_L1", "USERNAME_TYPE_BASENAME", "fid 0",
        "pruned proof", "MESSAGE_TYPE_LINK_COMPACT_STATE", "compacted links", "MESSAGE_TYPE_LEND_STORAGE",
        "displaced MESSAGE_TYPE_CAST_REMOVE", "displaced MESSAGE_TYPE_REACTION_REMOVE",
        "displaced MESSAGE_TYPE_REACTION_ADD", "displaced MESSAGE_TYPE_LINK_REMOVE", "displaced MESSAGE_TYPE_LINK_ADD",
        "displaced MESSAGE_TYPE_USER_DATA_ADD", "displaced MESSAGE_TYPE_VERIFICATION_REMOVE",
        "CHANNEL_OWNER_CHANGE_HINT", "displaced MESSAGE_TYPE_CHANNEL_UPDATE", "displaced MESSAGE_TYPE_CHANNEL_MEMBER",
        "displaced MESSAGE_TYPE_CHANNEL_PIN", "displaced MESSAGE_TYPE_CHANNEL_MODERATE",
    ):  # fmt: skip
        assert referee.seen[kind] > 0, kind


REPLAYED = ("MESSAGE_TYPE_LEND_STORAGE", "MESSAGE_TYPE_VERIFICATION_", "MESSAGE_TYPE_CHANNEL_")
"""What the block shard merges and every other shard replays."""


def test_messages_are_on_their_fids_shard_and_copies_on_both(lines: list[bytes]):
    copies: dict[str, set[int]] = {}
    for raw in lines:
        event = json.loads(raw)
        if "mergeMessageBody" in event:
            message = event["mergeMessageBody"]["message"]
            if message["data"]["type"].startswith(REPLAYED):
                copies.setdefault(message["hash"], set()).add(event["shardIndex"])
            else:
                assert event["shardIndex"] == shard_of(message["data"]["fid"], 2)
        proof = event.get("mergeUsernameProofBody", {}).get("usernameProof")
        if proof and proof["type"] == "USERNAME_TYPE_FNAME":
            copies.setdefault(proof["signature"], set()).add(event["shardIndex"])
    assert copies
    assert all(shards == {1, 2} for shards in copies.values())


def test_the_shard_of_an_fid_is_the_networks():
    """hub-api 7.7, verified there against the hub's documentation."""
    assert [fid for fid in range(1, 22) if shard_of(fid, 2) == 1] == [1, 3, 5, 7, 11, 12, 15, 17, 18, 19, 21]
    assert {shard_of(fid, 2) for fid in (2, 6, 226)} == {2}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        ("channel0", "778ced2dbaef9e85818f4baf289fffc8fd3d0b0d13e906ab8c0894fbc17c15a4"),
    ],
)
def test_the_hash_of_contracts(name: str, digest: str):
    assert keccak256(name.encode()).hex() == digest


def test_channels_are_registered_on_the_first_shard_under_the_hash_of_their_name(lines: list[bytes]):
    bodies: list[dict[str, Any]] = []
    for event in map(json.loads, lines):
        told = event.get("mergeOnChainEventBody", {}).get("onChainEvent", {})
        if told.get("type") == "EVENT_TYPE_CHANNEL_REGISTER":
            assert (event["shardIndex"], told["fid"]) == (1, 0)
            bodies.append(told["channelRegisterEventBody"])
    changes = {body["eventType"].rpartition("_")[2] for body in bodies}
    assert changes == {"REGISTER", "RENEW", "TRANSFER"}
    for body in bodies:
        assert body["channelKey"] == "" or body["label"] == "0x" + keccak256(body["channelKey"].encode()).hex()


def test_other_shards_prune_what_they_hold_of_a_users_verifications(lines: list[bytes]):
    foreign: list[str] = []
    for event in map(json.loads, lines):
        gone = event.get("pruneMessageBody", {}).get("message", {}).get("data", {})
        if "_VERIFICATION_" in gone.get("type", ""):
            assert event["shardIndex"] != shard_of(gone["fid"], 2)
            foreign.append(gone["type"])
    assert len(foreign) > 20


def test_casts_keep_the_protocols_limits(lines: list[bytes]):
    sizes = {"CAST": (0, 320), "LONG_CAST": (321, 1024), "TEN_K_CAST": (1025, 10_000)}
    seen = dict.fromkeys(("mentions", "castId", "url", "parentUrl", "parentCastId", "\x00", "huge", *sizes), 0)
    for raw in lines:
        body = json.loads(raw).get("mergeMessageBody", {}).get("message", {}).get("data", {}).get("castAddBody")
        if body is None:
            continue
        text = body["text"].encode()
        low, high = sizes[body["type"]]
        assert low <= len(text) <= high
        assert len(body["mentions"]) == len(body["mentionsPositions"])
        assert body["mentionsPositions"] == sorted(body["mentionsPositions"])
        assert all(position <= len(text) for position in body["mentionsPositions"])
        assert text or body["embeds"] or body["mentions"]
        seen[body["type"]] += 1
        seen["mentions"] += bool(body["mentions"])
        seen["\x00"] += "\x00" in body["text"]
        seen["huge"] += any(fid >= 2**63 for fid in body["mentions"])
        for key in ("parentUrl", "parentCastId"):
            seen[key] += body[key] is not None
        for key in ("castId", "url"):
            seen[key] += any(key in embed for embed in body["embeds"])
    assert all(seen.values()), seen


def test_mentions_count_bytes_and_the_text_lacks_the_name(lines: list[bytes]):
    beyond_ascii = 0
    for raw in lines:
        body = json.loads(raw).get("mergeMessageBody", {}).get("message", {}).get("data", {}).get("castAddBody")
        if body and body["mentions"] and body["mentions"][0] < 2**63:
            text = body["text"].encode()
            for position in body["mentionsPositions"]:
                assert text[position - 1 : position + 1] in (b"  ", b" ")  # the name belongs between two spaces
            beyond_ascii += len(text) != len(body["text"])
    assert beyond_ascii


def test_signer_metadata_names_the_client(lines: list[bytes]):
    clients = set()
    for raw in lines:
        event = json.loads(raw).get("mergeOnChainEventBody", {}).get("onChainEvent", {})
        body = event.get("signerEventBody")
        if body and body["eventType"] == "SIGNER_EVENT_TYPE_ADD":
            metadata = b64decode(body["metadata"])
            assert len(metadata) == 6 * 32 + 96
            assert int.from_bytes(metadata[:32], "big") == 0x20
            clients.add(int.from_bytes(metadata[32:64], "big"))
    assert clients == {9152, 309_857, 193}


def test_the_mix_is_a_networks():
    counts = dict.fromkeys(("CAST", "REACTION", "LINK", "USER_DATA", "VERIFICATION"), 0)
    for raw in generate(5, fids=50, events=15_000, events_per_second=200):
        data = json.loads(raw).get("mergeMessageBody", {}).get("message", {}).get("data")
        for kind in counts:
            counts[kind] += bool(data and data["type"].startswith(f"MESSAGE_TYPE_{kind}"))
    shares = {kind: count / sum(counts.values()) for kind, count in counts.items()}
    expected = {"CAST": 0.30, "REACTION": 0.38, "LINK": 0.22, "USER_DATA": 0.07, "VERIFICATION": 0.03}
    assert shares == pytest.approx(expected, abs=0.04)


def test_all_lines_are_json_of_one_line_each(lines: list[bytes]):
    for raw in lines:
        assert b"\n" not in raw
        msgspec.json.decode(raw)


def test_numbers_that_make_no_log_are_refused():
    with pytest.raises(ConfigError, match="at least one FID"):
        next(generate(1, fids=0, events=10))
    with pytest.raises(ConfigError, match="events per block"):
        next(generate(1, fids=1, events=10, events_per_second=50_000))


def test_base58_is_what_solana_writes():
    assert base58(bytes(32)) == "1" * 32
    assert base58(b"\x00\x00Hello World!") == "11" + base58(b"Hello World!")
    assert base58(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    assert len(base58(Random(1).randbytes(32))) in (43, 44)


def test_the_committed_sample_is_what_the_generator_makes(tmp_path: Path):
    assert SAMPLE.stat().st_size < 3_000_000
    remade = tmp_path / "events.ndjson.gz"
    make_sample(remade)
    assert gzip.decompress(remade.read_bytes()) == gzip.decompress(SAMPLE.read_bytes())


def test_the_committed_sample_has_every_kind_of_event():
    content = gzip.decompress(SAMPLE.read_bytes())
    for rare in (
        b"\\u0000", b"LINK_COMPACT_STATE", b"LEND_STORAGE", b'"fid":0', b"ENS_L1", b"BASENAME", b"TIER_PURCHASE",
        b"CHANNEL_REGISTER", b"SIGNER_MIGRATED", b"ADMIN_RESET", b"TEN_K_CAST", b"LONG_CAST", b"PRUNE_MESSAGE",
        b"REVOKE_MESSAGE", b"MERGE_FAILURE", b"VERIFICATION_REMOVE", b"PROTOCOL_SOLANA", b"REACTION_REMOVE",
    ):  # fmt: skip
        assert rare in content, rare
