"""`casts`: posts, by their hash (hub-api 5.2, 7.1)."""

from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.columns import Column, ColumnType, DataTable, Index, Row
from fc_pipeline.tables.encoding import base64_bytes, farcaster_micros, hex_bytes, json_text, key_text, named
from fc_pipeline.tables.message import (
    DELETED_REASON,
    ENVELOPE,
    HASH,
    TIMESTAMP,
    Deletion,
    cast_hash,
    message_hash,
    target_hash,
    tombstone,
)

__all__ = ["CASTS", "added", "gone", "removed"]

CASTS = DataTable(
    name="casts",
    description="Posts. A removed, pruned or revoked cast stays as a tombstone without its content.",
    # A CAST_REMOVE may name any hash; it takes effect only for its own FID (hub-api 5.2, 7.1). With the FID in the key,
    # one that names a stranger's cast leaves a tombstone of its own and the cast as it is.
    key=("hash", "fid"),
    columns=(
        HASH,
        Column("fid", ColumnType.BIGINT, "Author", nullable=False),
        TIMESTAMP,
        Column("text", ColumnType.TEXT, "Text without the @names of its mentions"),
        Column("type", ColumnType.TEXT, "cast, long_cast or ten_k_cast, by length of text"),
        Column("parent_fid", ColumnType.BIGINT, "Author of the cast replied to"),
        Column("parent_hash", ColumnType.BYTEA, "Hash of the cast replied to"),
        Column("parent_url", ColumnType.TEXT, "URL or channel replied to; any string"),
        Column("embeds", ColumnType.JSONB, 'List of {"url": …} and {"castId": {"fid": …, "hash": …}}'),
        Column("embeds_deprecated", ColumnType.TEXTS, "URLs embedded by casts before 2023-05-03; null otherwise"),
        Column("mentions", ColumnType.BIGINTS, "Mentioned FIDs"),
        Column("mentions_positions", ColumnType.INTEGERS, "Byte offset in the UTF-8 text of each mention"),
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(
        Index(("fid", "timestamp")),
        Index(("parent_hash",), where="parent_hash IS NOT NULL"),
        Index(("parent_url", "timestamp"), where="parent_url IS NOT NULL"),
    ),
)

_TYPES = {"CAST": "cast", "LONG_CAST": "long_cast", "TEN_K_CAST": "ten_k_cast"}


def added(message: Message, version: int) -> Row:
    """CAST_ADD → its live row."""
    body = message.data.castAddBody
    if body is None:
        raise ValueError("CAST_ADD without castAddBody")
    parent = body.parentCastId
    return (
        message_hash(message),
        message.data.fid,
        farcaster_micros(message.data.timestamp),
        body.text,
        named(_TYPES, body.type, "cast type"),
        parent.fid if parent else None,
        cast_hash(parent) if parent else None,
        None if body.parentUrl is None else key_text(body.parentUrl, "parent URL"),
        json_text(body.embeds),
        body.embedsDeprecated or None,
        body.mentions,
        body.mentionsPositions,
        hex_bytes(message.signer),
        base64_bytes(message.signature),
        None,
        version,
        None,
    )


def removed(message: Message, version: int, deletion: Deletion) -> Row:
    """CAST_REMOVE → the tombstone of its target, which may never have been seen."""
    body = message.data.castRemoveBody
    if body is None:
        raise ValueError("CAST_REMOVE without castRemoveBody")
    return tombstone(CASTS, (target_hash(body), message.data.fid), version, deletion)


def gone(message: Message, version: int, deletion: Deletion) -> Row:
    """A CAST_ADD that was pruned, revoked or displaced → its tombstone."""
    return tombstone(CASTS, (message_hash(message), message.data.fid), version, deletion)
