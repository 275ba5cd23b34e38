"""Builders of what the feed tells of channels, in Snapchain's shape (protocol-tables 3)."""

import hashlib
from typing import Any

from fc_pipeline_tests.support.events import NOW, Json, chain_event, message, reaction

__all__ = [
    "ASSETS",
    "channel_id",
    "channel_member",
    "channel_moderate",
    "channel_pin",
    "channel_update",
    "follow",
    "id_bytes",
    "registered",
    "renewed",
    "transferred",
]

ASSETS = "eip155:11155111/erc721:0x7Dd80C661dED9bFC8D4440224A0b39b345a91BE4/"
"""The URL of a channel's asset but for its number."""


def channel_id(name: str) -> str:
    """A channel's id in 0x-hex that depends on its name; of another hash than the contract's, which is not at hand."""
    return "0x" + hashlib.sha256(name.encode()).hexdigest()


def id_bytes(name: str) -> bytes:
    return bytes.fromhex(channel_id(name)[2:])


def registered(name: str, owner: str, *, block: int, log_index: int = 0, expiry: int = 2_000_000_000) -> Json:
    body = {"channelKey": name, "expiry": expiry, "ownerAddress": owner}
    return _registry_event("REGISTER", name, body, block, log_index)


def renewed(name: str, *, block: int, log_index: int = 0, expiry: int) -> Json:
    return _registry_event(
        "RENEW", name, {"channelKey": name, "expiry": expiry, "ownerAddress": "0x"}, block, log_index
    )


def transferred(name: str, owner: str, *, block: int, log_index: int = 0) -> Json:
    return _registry_event("TRANSFER", name, {"channelKey": "", "expiry": 0, "ownerAddress": owner}, block, log_index)


def _registry_event(kind: str, name: str, body: Json, block: int, log_index: int) -> Json:
    told = {**body, "eventType": f"CHANNEL_REGISTER_EVENT_TYPE_{kind}", "label": channel_id(name)}
    return chain_event("channel_register", 0, told, block=block, log_index=log_index)


def channel_update(fid: int, channel: str, timestamp: int = NOW, **settings: Any) -> Json:
    return message(
        "CHANNEL_UPDATE", fid, timestamp, {"channelUpdateBody": {"channelId": channel_id(channel), **settings}}
    )


def channel_member(fid: int, channel: str, member: int, action: str = "ADD_MEMBER", timestamp: int = NOW) -> Json:
    body = {"channelId": channel_id(channel), "fid": member, "action": f"CHANNEL_MEMBER_ACTION_{action}"}
    return message("CHANNEL_MEMBER", fid, timestamp, {"channelMemberBody": body})


def channel_pin(fid: int, channel: str, cast_hash: str, timestamp: int = NOW) -> Json:
    """`cast_hash` "0x" pins nothing."""
    body = {"channelId": channel_id(channel), "castHash": cast_hash}
    return message("CHANNEL_PIN", fid, timestamp, {"channelPinBody": body})


def channel_moderate(fid: int, channel: str, cast_hash: str, action: str = "HIDE", timestamp: int = NOW) -> Json:
    body = {"channelId": channel_id(channel), "castHash": cast_hash, "action": f"CHANNEL_MODERATE_ACTION_{action}"}
    return message("CHANNEL_MODERATE", fid, timestamp, {"channelModerateBody": body})


def follow(fid: int, channel: str, timestamp: int = NOW, *, add: bool = True) -> Json:
    return reaction(fid, f"{ASSETS}{int(channel_id(channel), 16)}", "LIKE", timestamp, add=add)
