"""The oracle's rows: where a message, name proof or contract event stands in the tables, and what its row says.

By hub-api 5 and 7.1 and design.md 4, straight from the JSON; hashes, keys and signatures are hex, times unix seconds.
"""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from fc_pipeline_tests.faults.oracle_contracts import pro_until

FARCASTER_EPOCH_UNIX = 1_609_459_200
Json = dict[str, Any]
Row = dict[str, Any]
Key = tuple[Any, ...]
Place = tuple[str, Key]
"""A table, and a key in it."""

REACTIONS = {"REACTION_TYPE_LIKE": "like", "REACTION_TYPE_RECAST": "recast"}
NAME_TYPES = {"USERNAME_TYPE_FNAME": "fname", "USERNAME_TYPE_ENS_L1": "ens", "USERNAME_TYPE_BASENAME": "basename"}
PROTOCOLS = {"PROTOCOL_ETHEREUM": "ethereum", "PROTOCOL_SOLANA": "solana"}
CHAIN_BODIES = {
    "signer": "signerEventBody",
    "signer_migrated": "signerMigratedEventBody",
    "id_register": "idRegisterEventBody",
    "storage_rent": "storageRentEventBody",
    "tier_purchase": "tier_purchase_event_body",
    "channel_register": "channelRegisterEventBody",
}
MESSAGE_TABLES = ("casts", "reactions", "links", "verifications", "user_data")
COUNTS = (
    "casts",
    "replies",
    "casts_removed",
    "likes",
    "recasts",
    "follows",
    "unfollows",
    "likes_received",
    "recasts_received",
    "replies_received",
    "follows_received",
)


def hex_of(text: str) -> str:
    return text.removeprefix("0x").lower()


def _of_base64(text: str) -> str:
    return b64decode(text).hex()


def place_of(message: Json) -> Place | None:
    """The table and key of a message (hub-api 7.1); None for one that is in no table."""
    data = message["data"]
    fid = data["fid"]
    if "castAddBody" in data or "castRemoveBody" in data:
        remove = data.get("castRemoveBody")
        return "casts", (fid, _of_base64(remove["targetHash"]) if remove else hex_of(message["hash"]))
    if "reactionBody" in data:
        body = data["reactionBody"]
        return "reactions", (fid, REACTIONS[body["type"]], _target(body))
    if "linkBody" in data:
        return "links", (fid, data["linkBody"]["type"], data["linkBody"]["targetFid"])
    if "userDataBody" in data:
        return "user_data", (fid, _field(data["userDataBody"]["type"]))
    if "verificationAddAddressBody" in data or "verificationRemoveBody" in data:
        body = data.get("verificationAddAddressBody") or data["verificationRemoveBody"]
        return "verifications", (fid, _address(body))
    return None


def _field(name: str) -> str:
    return name.removeprefix("USER_DATA_TYPE_").removeprefix("USER_DATA_").lower()


def _address(body: Json) -> str:
    return body["address"] if body["protocol"] == "PROTOCOL_SOLANA" else body["address"].lower()


def _target(body: Json) -> str:
    """The target in one value, as docs/tables.md says: 01, FID and hash of a cast, or 02 and the URL."""
    cast = body.get("targetCastId")
    return "01" + f"{cast['fid']:016x}" + hex_of(cast["hash"]) if cast else "02" + body["targetUrl"].encode().hex()


def message_row(message: Json) -> Row:
    """The columns of a message's live row."""
    data = message["data"]
    row: Row = {
        "timestamp": data["timestamp"] + FARCASTER_EPOCH_UNIX,
        "hash": hex_of(message["hash"]),
        "signer": hex_of(message["signer"]),
        "signature": _of_base64(message["signature"]),
    }
    if "castAddBody" in data:
        body = data["castAddBody"]
        parent = body.get("parentCastId") or {}
        row |= {
            "text": body["text"],
            "type": {"CAST": "cast", "LONG_CAST": "long_cast", "TEN_K_CAST": "ten_k_cast"}[body.get("type", "CAST")],
            "parent_fid": parent.get("fid"),
            "parent_hash": hex_of(parent["hash"]) if parent else None,
            "parent_url": body.get("parentUrl"),
            "embeds": body.get("embeds", []),
            "embeds_deprecated": body.get("embedsDeprecated") or None,
            "mentions": body.get("mentions", []),
            "mentions_positions": body.get("mentionsPositions", []),
        }
    elif "reactionBody" in data:
        cast = data["reactionBody"].get("targetCastId") or {}
        row |= {
            "target_fid": cast.get("fid"),
            "target_hash": hex_of(cast["hash"]) if cast else None,
            "target_url": data["reactionBody"].get("targetUrl"),
        }
    elif "linkBody" in data:
        shown = data["linkBody"].get("displayTimestamp")
        row["display_timestamp"] = None if shown is None else shown + FARCASTER_EPOCH_UNIX
    elif "userDataBody" in data:
        row["value"] = data["userDataBody"]["value"]
    else:
        body = data["verificationAddAddressBody"]
        row |= {
            "protocol": PROTOCOLS[body["protocol"]],
            "claim_signature": _of_base64(body["claimSignature"]),
            "block_hash": body["blockHash"],
            "verification_type": body.get("type", 0),
            "chain_id": body.get("chainId", 0),
        }
    return row


def proof_row(proof: Json, message: Json | None) -> tuple[Key, tuple[int, str], Row]:
    """Key, rank and columns of a name's proof."""
    rank = proof["timestamp"], hex_of(message["hash"]) if message else _of_base64(proof["signature"])
    row = {
        "fid": proof["fid"],
        "owner": proof["owner"].lower(),
        "timestamp": proof["timestamp"],
        "hash": hex_of(message["hash"]) if message else None,
        "signature": _of_base64(proof["signature"]),
    }
    return (proof["name"], NAME_TYPES[proof["type"]]), rank, row


def chain_row(event: Json) -> tuple[Key, Row]:
    """Key and columns of a contract event."""
    kind = event["type"].removeprefix("EVENT_TYPE_").lower()
    row = {
        "type": kind,
        "fid": event["fid"],
        "block_number": event["blockNumber"],
        "block_timestamp": event["blockTimestamp"],
        "body": event.get(CHAIN_BODIES[kind]),
    }
    return (event["chainId"], hex_of(event["transactionHash"]), event["logIndex"]), row


def counts_of(kind: str, data: Json) -> Iterator[tuple[int, str]]:
    """Whom a merged message counts for in the hour of its block, and as what."""
    fid = data["fid"]
    if kind == "CAST_ADD":
        yield fid, "casts"
        if parent := data["castAddBody"].get("parentCastId"):
            yield fid, "replies"
            yield parent["fid"], "replies_received"
    elif kind == "CAST_REMOVE":
        yield fid, "casts_removed"
    elif kind == "REACTION_ADD":
        name = REACTIONS[data["reactionBody"]["type"]] + "s"
        yield fid, name
        if cast := data["reactionBody"].get("targetCastId"):
            yield cast["fid"], f"{name}_received"
    elif kind == "LINK_ADD" and data["linkBody"]["type"] == "follow":
        yield fid, "follows"
        yield data["linkBody"]["targetFid"], "follows_received"
    elif kind == "LINK_REMOVE" and data["linkBody"]["type"] == "follow":
        yield fid, "unfollows"


def lend_row(message: Json) -> tuple[Key, Row]:
    """Key and columns of what is lent (protocol-tables 2.2)."""
    data = message["data"]
    body = data["lendStorageBody"]
    row = {
        "units": body["numUnits"],
        "unit_type": body["unitType"].removeprefix("UnitType").lower(),
        "timestamp": data["timestamp"] + FARCASTER_EPOCH_UNIX,
        "hash": hex_of(message["hash"]),
        "signer": hex_of(message["signer"]),
        "signature": _of_base64(message["signature"]),
    }
    return (data["fid"], body["toFid"]), row


def profiles_of(tables: dict[str, dict[Key, Row]]) -> dict[Key, Row]:
    """What apps show of each user: the fields set, addresses, registration; FIDs without any of it have no profile."""
    made: defaultdict[int, Row] = defaultdict(dict)
    newest: defaultdict[int, int] = defaultdict(int)
    for (fid, kind), row in tables["user_data"].items():
        made[fid][kind] = row["value"] or None
        newest[fid] = max(newest[fid], row["timestamp"])
    holders: defaultdict[str, set[int]] = defaultdict(set)
    for (name, _), row in tables["username_proofs"].items():
        holders[name].add(row["fid"])
    for fid, user in made.items():
        shown = user.get("username")
        if shown in holders and fid not in holders[shown]:
            user["username"] = None  # nobody is shown under a name whose proof is another's
    by_age = sorted(tables["verifications"].items(), key=lambda item: (item[1]["timestamp"], item[0][1]))
    for (fid, address), row in by_age:
        made[fid].setdefault(f"first {row['protocol']}", address)
        made[fid].setdefault("verified", []).append(address)
        newest[fid] = max(newest[fid], row["timestamp"])
    chain = [row for row in tables["on_chain_events"].values() if row["type"] == "id_register"]
    ordered = sorted(
        ((row, key) for key, row in tables["on_chain_events"].items() if row["type"] == "id_register"),
        key=lambda item: (item[0]["block_number"], item[1][2]),
    )
    for row, _ in ordered:
        user, event = made[row["fid"]], row["body"]["eventType"]
        if event in ("Register", "Transfer"):
            user["custody"] = row["body"]["to"]
        if event == "Register":
            user["registered_at"] = min(user.get("registered_at", row["block_timestamp"]), row["block_timestamp"])
    for row in chain:
        newest[row["fid"]] = max(newest[row["fid"]], row["block_timestamp"])
    return {
        (fid,): {**_profile(user), "pro_until": pro_until(tables, fid), "updated_at": newest[fid]}
        for fid, user in made.items()
        if fid > 0
    }


def _primary(user: Row, chosen: str, first: str) -> str | None:
    """The address that was set, as long as it is verified, else the one that was verified first."""
    address = user.get(chosen)
    is_verified = address is not None and {address, address.lower()} & set(user.get("verified", ()))
    return address if is_verified else user.get(first)


def _profile(user: Row) -> Row:
    names = {"username": "username", "display_name": "display", "bio": "bio", "pfp_url": "pfp", "url": "url"}
    names |= {"location": "location", "twitter": "twitter", "github": "github", "banner_url": "banner"}
    return {column: user.get(kind) for column, kind in names.items()} | {
        "primary_eth_address": _primary(user, "primary_address_ethereum", "first ethereum"),
        "primary_sol_address": _primary(user, "primary_address_solana", "first solana"),
        "custody_address": user.get("custody"),
        "registered_at": user.get("registered_at"),
    }
