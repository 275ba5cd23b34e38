"""`reactions`: likes and recasts, by author, type and target (hub-api 5.2, 7.1)."""

from fc_pipeline.hub.wire import Message, ReactionBody
from fc_pipeline.tables.columns import Column, ColumnType, DataTable, Index, Row
from fc_pipeline.tables.encoding import base64_bytes, farcaster_micros, hex_bytes, key_text, named
from fc_pipeline.tables.message import (
    DELETED_REASON,
    ENVELOPE,
    HASH,
    TIMESTAMP,
    Deletion,
    cast_hash,
    message_hash,
    tombstone,
)

__all__ = ["REACTIONS", "added", "gone"]

REACTIONS = DataTable(
    name="reactions",
    description="Likes and recasts of casts and URLs.",
    key=("fid", "type", "target"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Who reacted", nullable=False),
        Column("type", ColumnType.TEXT, "like or recast", nullable=False),
        Column(
            "target",
            ColumnType.BYTEA,
            "The target in one value, for the key: 01, FID (8 bytes) and hash of a cast, or 02 and the URL's UTF-8",
            nullable=False,
        ),
        Column("target_fid", ColumnType.BIGINT, "Author of the cast reacted to"),
        Column("target_hash", ColumnType.BYTEA, "Hash of the cast reacted to"),
        Column("target_url", ColumnType.TEXT, "URL reacted to; any string"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(Index(("target_hash",), where="target_hash IS NOT NULL"),),
)

_TYPES = {"REACTION_TYPE_LIKE": "like", "REACTION_TYPE_RECAST": "recast"}


def added(message: Message, version: int) -> Row:
    """REACTION_ADD → its live row."""
    body = _body(message)
    cast_id = body.targetCastId
    return (
        message.data.fid,
        named(_TYPES, body.type, "reaction type"),
        _target(body),
        cast_id.fid if cast_id else None,
        cast_hash(cast_id) if cast_id else None,
        body.targetUrl,
        farcaster_micros(message.data.timestamp),
        message_hash(message),
        hex_bytes(message.signer),
        base64_bytes(message.signature),
        None,
        version,
        None,
    )


def gone(message: Message, version: int, deletion: Deletion) -> Row:
    """REACTION_REMOVE, or a REACTION_ADD that was pruned, revoked or displaced → the tombstone of its key."""
    body = _body(message)
    return tombstone(
        REACTIONS, (message.data.fid, named(_TYPES, body.type, "reaction type"), _target(body)), version, deletion
    )


def _body(message: Message) -> ReactionBody:
    body = message.data.reactionBody
    if body is None:
        raise ValueError(f"{message.data.type} without reactionBody")
    return body


def _target(body: ReactionBody) -> bytes:
    if body.targetCastId is not None:
        return b"\x01" + body.targetCastId.fid.to_bytes(8, "big") + cast_hash(body.targetCastId)
    if body.targetUrl is not None:
        return b"\x02" + key_text(body.targetUrl, "target URL").encode()
    raise ValueError("reaction without a target")
