"""What a hub's by-FID answers say of a row, and what the tables say, in one comparable form."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline_tests.fold.conftest import Replica


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


def cast_rows(replica: Replica) -> dict[bytes, tuple[Any, ...]]:
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


def live_rows(replica: Replica, table: str, fids: list[int] | None = None) -> dict[bytes, tuple[Any, ...]]:
    """The live rows of these FIDs, or of all, by hash."""
    rows = replica.rows(
        f"SELECT {COLUMNS[table]} FROM {table} WHERE deleted_at IS NULL AND (:fids IS NULL OR fid = ANY(:fids))",
        fids=fids,
    )
    return {row.hash: (row.fid, seconds(row.timestamp), *row[3:]) for row in rows}
