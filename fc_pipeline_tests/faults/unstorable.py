"""Which events no table can hold, by the promises of docs/concepts.md and design.md 4, read off the JSON alone."""

from typing import Any

Json = dict[str, Any]

MOST = 2**63 - 1
EVENT_TYPES = {
    "MERGE_MESSAGE",
    "PRUNE_MESSAGE",
    "REVOKE_MESSAGE",
    "MERGE_USERNAME_PROOF",
    "MERGE_ON_CHAIN_EVENT",
    "MERGE_FAILURE",
    "BLOCK_CONFIRMED",
    "CHANNEL_OWNER_CHANGE_HINT",
}
MESSAGE_TYPES = {
    "CAST_ADD",
    "CAST_REMOVE",
    "REACTION_ADD",
    "REACTION_REMOVE",
    "LINK_ADD",
    "LINK_REMOVE",
    "VERIFICATION_ADD_ETH_ADDRESS",
    "VERIFICATION_REMOVE",
    "USER_DATA_ADD",
    "USERNAME_PROOF",
    "FRAME_ACTION",
    "LINK_COMPACT_STATE",
    "LEND_STORAGE",
    "KEY_ADD",
    "KEY_REMOVE",
    "CHANNEL_UPDATE",
    "CHANNEL_MEMBER",
    "CHANNEL_PIN",
    "CHANNEL_MODERATE",
}
USER_DATA_TYPES = {
    *(f"USER_DATA_TYPE_{n}" for n in ("PFP", "DISPLAY", "BIO", "URL", "USERNAME", "LOCATION", "TWITTER", "GITHUB")),
    *(f"USER_DATA_TYPE_{name}" for name in ("BANNER", "PROFILE_TOKEN", "LIVE_AT")),
    "USER_DATA_PRIMARY_ADDRESS_ETHEREUM",
    "USER_DATA_PRIMARY_ADDRESS_SOLANA",
}
UNREAD = ("embeds", "lendStorageBody", "mergeFailureBody", "storageRentEventBody", "tier_purchase_event_body")
"""Kept as raw JSON or in no table at all: a number beyond bigint does no harm there."""


def reason_to_set_aside(event: Json) -> str | None:
    """`undecodable` for a number that fits no column, `unknown_type` for a type that nobody knows yet, else None."""
    kind = event["type"].removeprefix("HUB_EVENT_TYPE_")
    if _has_huge_number(event):
        return "undecodable"
    if kind not in EVENT_TYPES:
        return "unknown_type"
    for message in _messages(event):
        data = message["data"]
        if data["type"].removeprefix("MESSAGE_TYPE_") not in MESSAGE_TYPES:
            return "unknown_type"
        if "userDataBody" in data and data["userDataBody"]["type"] not in USER_DATA_TYPES:
            return "unknown_type"
        if "reactionBody" in data and data["reactionBody"]["type"] == "REACTION_TYPE_NONE":
            return "unknown_type"
    return None


def _messages(event: Json) -> list[Json]:
    merge = event.get("mergeMessageBody")
    if merge:
        return [merge["message"], *merge["deletedMessages"]]
    gone = event.get("pruneMessageBody") or event.get("revokeMessageBody")
    return [gone["message"]] if gone else []


def _has_huge_number(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_huge_number(one) for key, one in value.items() if key not in UNREAD)
    if isinstance(value, list):
        return any(map(_has_huge_number, value))
    return isinstance(value, int) and value > MOST


def without_nul(value: Any) -> Any:
    """The value with U+0000 taken out of its texts (hub-api T13)."""
    if isinstance(value, dict):
        return {key: without_nul(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_nul(one) for one in value]
    return value.replace("\x00", "") if isinstance(value, str) else value
