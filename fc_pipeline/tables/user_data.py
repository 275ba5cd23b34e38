"""`user_data`: profile fields, by FID and type (hub-api 5.2)."""

from fc_pipeline.hub.wire import Message, UserDataBody
from fc_pipeline.tables.columns import Column, ColumnType, DataTable, Row
from fc_pipeline.tables.encoding import base64_bytes, farcaster_micros, hex_bytes, key_text, named
from fc_pipeline.tables.message import DELETED_REASON, ENVELOPE, HASH, TIMESTAMP, Deletion, message_hash, tombstone

__all__ = ["USER_DATA", "added", "gone"]

USER_DATA = DataTable(
    name="user_data",
    description="Profile fields as users set them; an empty value is a real one and means cleared.",
    key=("fid", "type"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Whose profile", nullable=False),
        Column(
            "type",
            ColumnType.TEXT,
            "pfp, display, bio, url, username, location, twitter, github, banner, primary_address_ethereum, "
            "primary_address_solana, profile_token or live_at",
            nullable=False,
        ),
        Column("value", ColumnType.TEXT, "The field's text; empty means cleared"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
)

_TYPES = {
    "USER_DATA_TYPE_PFP": "pfp",
    "USER_DATA_TYPE_DISPLAY": "display",
    "USER_DATA_TYPE_BIO": "bio",
    "USER_DATA_TYPE_URL": "url",
    "USER_DATA_TYPE_USERNAME": "username",
    "USER_DATA_TYPE_LOCATION": "location",
    "USER_DATA_TYPE_TWITTER": "twitter",
    "USER_DATA_TYPE_GITHUB": "github",
    "USER_DATA_TYPE_BANNER": "banner",
    "USER_DATA_PRIMARY_ADDRESS_ETHEREUM": "primary_address_ethereum",
    "USER_DATA_PRIMARY_ADDRESS_SOLANA": "primary_address_solana",
    "USER_DATA_TYPE_PROFILE_TOKEN": "profile_token",
    "USER_DATA_TYPE_LIVE_AT": "live_at",
}


def added(message: Message, version: int) -> Row:
    """USER_DATA_ADD → its live row."""
    body = _body(message)
    return (
        message.data.fid,
        named(_TYPES, body.type, "user data type"),
        body.value,
        farcaster_micros(message.data.timestamp),
        message_hash(message),
        hex_bytes(message.signer),
        base64_bytes(message.signature),
        None,
        version,
        None,
    )


def gone(message: Message, version: int, deletion: Deletion) -> Row:
    """A USER_DATA_ADD that was pruned, revoked or displaced → the tombstone of its key."""
    return tombstone(
        USER_DATA, (message.data.fid, named(_TYPES, _body(message).type, "user data type")), version, deletion
    )


def _body(message: Message) -> UserDataBody:
    body = message.data.userDataBody
    if body is None:
        raise ValueError(f"{message.data.type} without userDataBody")
    if body.type == "USER_DATA_TYPE_USERNAME":  # it is indexed in user_profiles
        key_text(body.value, "username")
    return body
