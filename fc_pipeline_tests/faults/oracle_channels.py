"""The oracle's tables of channels (protocol-tables 3): slots that messages fill, owners, followers."""

import re
from base64 import b64decode
from typing import Any

Json = dict[str, Any]
Row = dict[str, Any]
Key = tuple[Any, ...]
Tables = dict[str, dict[Key, Row]]

FARCASTER_EPOCH_UNIX = 1_609_459_200
SLOT_TABLES = ("channel_settings", "channel_members", "channel_pins", "channel_moderations")
STATES = {
    "ADD_MEMBER": "member",
    "REMOVE_MODERATOR": "member",
    "ADD_MODERATOR": "moderator",
    "REMOVE_MEMBER": "removed",
    "UNBAN": "removed",
    "BAN": "banned",
}
ASSET = re.compile(r"eip155:11155111/erc721:0x7Dd80C661dED9bFC8D4440224A0b39b345a91BE4/(0|[1-9][0-9]{0,77})")


def is_of_channel(message: Json) -> bool:
    """Whether a message fills a slot of a channel."""
    return message["data"]["type"].startswith("MESSAGE_TYPE_CHANNEL_")


def slot_of(message: Json) -> tuple[str, Key, Row]:
    """Table, key and columns of what a channel's message sets."""
    data = message["data"]
    row: Row = {
        "timestamp": data["timestamp"] + FARCASTER_EPOCH_UNIX,
        "hash": _hex(message["hash"]),
        "signer": _hex(message["signer"]),
        "signature": b64decode(message["signature"]).hex(),
    }
    if body := data.get("channelMemberBody"):
        state = STATES[body["action"].removeprefix("CHANNEL_MEMBER_ACTION_")]
        return (
            "channel_members",
            (_hex(body["channelId"]), body["fid"]),
            {**row, "state": state, "author_fid": data["fid"]},
        )
    row["fid"] = data["fid"]
    if body := data.get("channelPinBody"):
        return "channel_pins", (_hex(body["channelId"]),), {**row, "cast_hash": _hex(body["castHash"]) or None}
    if body := data.get("channelModerateBody"):
        action = body["action"].removeprefix("CHANNEL_MODERATE_ACTION_").lower()
        return "channel_moderations", (_hex(body["channelId"]), _hex(body["castHash"])), {**row, "action": action}
    body = data["channelUpdateBody"]
    return "channel_settings", (_hex(body["channelId"]),), {**row, **_settings(body)}


def channel_tables(tables: Tables) -> Tables:
    """What follows from contract events, settings, verifications and likes."""
    return {"channels": _channels(tables), "channel_follows": _follows(tables)}


def _hex(text: str) -> str:
    return text.removeprefix("0x").lower()


def _settings(body: Json) -> Row:
    casting = (body.get("castingMode") or "CASTING_MODE_NONE").removeprefix("CASTING_MODE_")
    membership = (body.get("membershipMode") or "MEMBERSHIP_MODE_NONE").removeprefix("MEMBERSHIP_MODE_")
    return {
        **{name: body.get(name) for name in ("name", "description", "header", "rules")},
        "image_url": body.get("imageUrl"),
        "casting_mode": "members_only" if casting == "NONE" else casting.lower(),
        "membership_mode": "approval" if membership == "NONE" else membership.lower(),
    }


def _channels(tables: Tables) -> dict[Key, Row]:
    made: dict[Key, Row] = {}
    events = [(key, row) for key, row in tables["on_chain_events"].items() if row["type"] == "channel_register"]
    for _, event in sorted(events, key=lambda item: (item[1]["block_number"], item[0][2])):
        body = event["body"]
        key = (_hex(body["label"]),)
        kind = body["eventType"].removeprefix("CHANNEL_REGISTER_EVENT_TYPE_")
        if kind == "REGISTER" and key not in made:
            made[key] = {"channel_key": body["channelKey"], "registered_at": event["block_timestamp"]}
        if key in made and kind in ("REGISTER", "TRANSFER"):
            made[key]["owner_address"] = body["ownerAddress"].lower()
        if key in made and kind in ("REGISTER", "RENEW"):
            made[key]["expires_at"] = body["expiry"]
    for key, row in made.items():
        settings = tables["channel_settings"].get(key) or {}
        row |= {name: settings.get(name, value) for name, value in _settings({}).items()}
        row["fid"] = _owner(tables, row["owner_address"])
    return made


def _owner(tables: Tables, owner_address: str) -> int | None:
    """Of the FIDs that verified the address that whose verification is the newest; of equal ones the lowest."""
    ranks = [
        (row["timestamp"], row["hash"], -fid)
        for (fid, address), row in tables["verifications"].items()
        if address == owner_address and row["protocol"] == "ethereum"
    ]
    return -max(ranks)[2] if ranks else None


def _follows(tables: Tables) -> dict[Key, Row]:
    made: dict[Key, Row] = {}
    for (fid, kind, _), row in tables["reactions"].items():
        asset = ASSET.fullmatch(row["target_url"] or "")
        if kind == "like" and asset and int(asset[1]) < 2**256:
            made[fid, f"{int(asset[1]):064x}"] = {"followed_at": row["timestamp"], "hash": row["hash"]}
    return made
