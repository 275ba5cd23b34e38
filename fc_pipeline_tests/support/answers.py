"""What a hub's by-FID answers say of a row, and what the tables say, in one comparable form."""

import json
from base64 import b64decode
from collections import defaultdict
from pathlib import Path
from typing import Any

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline_tests.support.events import FIRST_HEIGHT, Event, cast_add, merge
from fc_pipeline_tests.support.folded import FoldedDatabase


def messages_of(path: Path, key: str = "messages") -> list[Any]:
    return json.loads(path.read_bytes())[key]


def hashed(message: Any) -> bytes:
    return bytes.fromhex(message["hash"][2:])


def seconds(row_time: Any) -> int:
    """A timestamptz → Farcaster seconds."""
    return int(row_time.timestamp()) - FARCASTER_EPOCH_UNIX


def without_nul(text: str | None) -> str | None:
    return None if text is None else text.replace("\x00", "")


def cast_values(message: Any) -> tuple[Any, ...]:
    body = message["data"]["castAddBody"]
    parent = body.get("parentCastId")
    return (
        message["data"]["fid"],
        message["data"]["timestamp"],
        without_nul(body["text"]),
        json.loads(json.dumps(body.get("embeds", [])).replace("\\u0000", "")),
        body.get("embedsDeprecated") or None,
        body.get("mentions", []),
        body.get("mentionsPositions", []),
        parent["fid"] if parent else None,
        bytes.fromhex(parent["hash"][2:]) if parent else None,
        body.get("parentUrl"),
        bytes.fromhex(message["signer"][2:]),
        b64decode(message["signature"]),
    )


def cast_rows(replica: FoldedDatabase) -> dict[bytes, tuple[Any, ...]]:
    rows = replica.rows(
        "SELECT hash, fid, timestamp, text, embeds, embeds_deprecated, mentions, mentions_positions, parent_fid, "
        "parent_hash, parent_url, signer, signature FROM casts WHERE deleted_at IS NULL"
    )
    return {row.hash: (row.fid, seconds(row.timestamp), *row[3:]) for row in rows}


def reaction_values(message: Any) -> tuple[Any, ...]:
    body = message["data"]["reactionBody"]
    cast = body.get("targetCastId")
    return (
        message["data"]["fid"],
        message["data"]["timestamp"],
        {"REACTION_TYPE_LIKE": "like", "REACTION_TYPE_RECAST": "recast"}[body["type"]],
        cast["fid"] if cast else None,
        bytes.fromhex(cast["hash"][2:]) if cast else None,
        body.get("targetUrl"),
    )


def link_values(message: Any) -> tuple[Any, ...]:
    data = message["data"]
    body = data["linkBody"]
    return (data["fid"], data["timestamp"], body["type"], body["targetFid"], body.get("displayTimestamp"))


def verification_values(message: Any) -> tuple[Any, ...]:
    body = message["data"]["verificationAddAddressBody"]
    return (
        message["data"]["fid"],
        message["data"]["timestamp"],
        body["address"],
        {"PROTOCOL_ETHEREUM": "ethereum", "PROTOCOL_SOLANA": "solana"}[body["protocol"]],
        body["blockHash"],
        b64decode(body["claimSignature"]),
        body.get("chainId", 0),
    )


def user_data_values(message: Any) -> tuple[Any, ...]:
    body = message["data"]["userDataBody"]
    kind = body["type"].removeprefix("USER_DATA_TYPE_").removeprefix("USER_DATA_").lower()
    return (message["data"]["fid"], message["data"]["timestamp"], kind, without_nul(body["value"]))


COLUMNS = {
    "reactions": "hash, fid, timestamp, type, target_fid, target_hash, target_url",
    "links": "hash, fid, timestamp, type, target_fid, extract(epoch FROM display_timestamp)::bigint - 1609459200",
    "verifications": "hash, fid, timestamp, address, protocol, block_hash, claim_signature, chain_id",
    "user_data": "hash, fid, timestamp, type, value",
}
ANSWERS = {
    "reactions": ("reactions", reaction_values),
    "links": ("links", link_values),
    "verifications": ("verifications", verification_values),
    "user_data": ("userData", user_data_values),
}


def live_rows(replica: FoldedDatabase, table: str, fids: list[int] | None = None) -> dict[bytes, tuple[Any, ...]]:
    """The live rows of these FIDs, or of all, by hash."""
    rows = replica.rows(
        f"SELECT {COLUMNS[table]} FROM {table} WHERE deleted_at IS NULL AND (:fids IS NULL OR fid = ANY(:fids))",
        fids=fids,
    )
    return {row.hash: (row.fid, seconds(row.timestamp), *row[3:]) for row in rows}


def check_answers_of_the_recorded_hub(replica: FoldedDatabase, hub: Path, raws: list[bytes]) -> None:
    """The replica says of the recorded FIDs what the hub's recorded by-FID answers in the folder `hub` say.

    `raws` is the hub's log.
    """
    folders = sorted(hub.glob("fid_*"))
    fids = [int(folder.name.removeprefix("fid_")) for folder in folders]
    answers = {
        name: [m for folder in folders for m in messages_of(folder / f"{name}_0.json")]
        for name in ("casts", "reactions", "links", "verifications", "userData")
    }
    compared = 0
    casts = {hashed(m): cast_values(m) for m in answers["casts"] if m["data"]["type"] == "MESSAGE_TYPE_CAST_ADD"}
    assert {h: row for h, row in cast_rows(replica).items() if row[0] in fids} == casts
    compared += len(casts)
    for table, (name, values_of) in ANSWERS.items():
        expected = {hashed(m): values_of(m) for m in answers[name]}
        assert live_rows(replica, table, fids) == expected, table
        compared += len(expected)
    proofs = {
        (p["name"], p["type"], p["fid"], p["owner"], p["timestamp"])
        for folder in folders
        for p in messages_of(folder / "userNameProofs_0.json", "proofs")
    }
    types = {"fname": "USERNAME_TYPE_FNAME", "ens": "USERNAME_TYPE_ENS_L1"}
    rows = replica.rows("SELECT * FROM username_proofs WHERE deleted_at IS NULL AND fid = ANY(:fids)", fids=fids)
    assert {(r.name, types[r.type], r.fid, r.owner, int(r.timestamp.timestamp())) for r in rows} == proofs
    removes = sum(m["data"]["type"] == "MESSAGE_TYPE_CAST_REMOVE" for m in answers["casts"])
    assert compared + removes == 784

    assert [reason for _, reason in replica.quarantined()] == ["nul_removed", "nul_removed"]
    chain = {
        e["transactionHash"] for r in raws if (e := json.loads(r).get("mergeOnChainEventBody", {}).get("onChainEvent"))
    }
    assert {"0x" + r[0].hex() for r in replica.rows("SELECT transaction_hash FROM on_chain_events")} == chain


def pinata(shared_fixtures: Path) -> list[Any]:
    """The 16,232 recorded messages of the live network, in the order of their time."""
    folder = shared_fixtures / "recorded" / "hub-http" / "pinata-hubble-2024-04"
    paths = [*folder.glob("castsByFid/*.json"), *folder.glob("userDataByFid/*.json")]
    found = [m for path in sorted(paths) if path.stat().st_size for m in messages_of(path)]
    return sorted(found, key=lambda m: (m["data"]["timestamp"], m["hash"]))


def cast_of(fid: int, cast_hash: bytes) -> Any:
    """A cast with a hash of our choice: the target of a recorded remove, which no recorded list has."""
    return {**cast_add(fid, "to be removed"), "hash": "0x" + cast_hash.hex()}


def targets_of(messages: list[Any]) -> list[tuple[int, bytes]]:
    """FID and cast hash of every recorded CAST_REMOVE."""
    removes = [m for m in messages if m["data"]["type"] == "MESSAGE_TYPE_CAST_REMOVE"]
    return [(m["data"]["fid"], b64decode(m["data"]["castRemoveBody"]["targetHash"])) for m in removes]


def recorded_blocks(messages: list[Any]) -> dict[int, list[Event]]:
    """A log of the recorded messages, 500 to a block; half of the casts that they remove are merged first."""
    events = [merge(cast_of(fid, target)) for fid, target in targets_of(messages)[::2]] + [merge(m) for m in messages]
    return {FIRST_HEIGHT + n: events[at : at + 500] for n, at in enumerate(range(0, len(events), 500))}


def check_recorded_messages(replica: FoldedDatabase, messages: list[Any]) -> None:
    """Every recorded message landed: texts, embeds, mentions and parents as they were, and the removes took effect."""
    targets = targets_of(messages)
    assert (len(messages), len(targets)) == (16_232, 581)
    assert replica.quarantined() == []
    casts = {hashed(m): cast_values(m) for m in messages if m["data"]["type"] == "MESSAGE_TYPE_CAST_ADD"}
    assert len(casts) == 12_183
    assert cast_rows(replica) == casts
    gone = replica.rows("SELECT fid, hash, text, deleted_reason FROM casts WHERE deleted_at IS NOT NULL")
    assert {(row.fid, row.hash) for row in gone} == set(targets)
    assert {(row.text, row.deleted_reason) for row in gone} == {(None, "removed")}

    latest: dict[tuple[int, str], tuple[Any, ...]] = {}
    for m in messages:
        if m["data"]["type"] == "MESSAGE_TYPE_USER_DATA_ADD":
            values = user_data_values(m)
            latest[values[0], values[2]] = values
    rows = replica.rows("SELECT fid, timestamp, type, value FROM user_data WHERE deleted_at IS NULL")
    assert {(r.fid, r.type): (r.fid, seconds(r.timestamp), r.type, r.value) for r in rows} == latest
    assert len(latest) == 3_468
    profiles = replica.rows("SELECT fid, username, display_name, bio, pfp_url FROM user_profiles")
    fields = {"username": 1, "display": 2, "bio": 3, "pfp": 4}
    expected: dict[int, list[Any]] = defaultdict(lambda: [None] * 5)
    for (fid, kind), values in latest.items():
        expected[fid][0] = fid
        expected[fid][fields[kind]] = values[3] or None
    assert {r.fid: list(r) for r in profiles} == dict(expected)
