"""`links`: follows and the like, by author, type and target, and the compact states that mask them (hub-api 7.4)."""

from fc_pipeline.hub.wire import LinkBody, Message
from fc_pipeline.tables.columns import Column, ColumnType, DataTable, Index, Row
from fc_pipeline.tables.encoding import base64_bytes, farcaster_micros, hex_bytes, key_text
from fc_pipeline.tables.message import DELETED_REASON, ENVELOPE, HASH, TIMESTAMP, Deletion, message_hash, tombstone

__all__ = ["LINKS", "added", "gone"]

LINKS = DataTable(
    name="links",
    description="Who follows (or blocks, …) whom.",
    key=("fid", "type", "target_fid"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Who follows", nullable=False),
        Column("type", ColumnType.TEXT, "follow, block, … as the user wrote it", nullable=False),
        Column("target_fid", ColumnType.BIGINT, "Who is followed", nullable=False),
        TIMESTAMP,
        Column("display_timestamp", ColumnType.TIMESTAMP, "Time to show instead, where the user gave one"),
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(Index(("target_fid", "type")),),
)


def added(message: Message, version: int) -> Row:
    """LINK_ADD → its live row, before compact states are applied."""
    body = _body(message)
    display = body.displayTimestamp
    return (
        message.data.fid,
        body.type,
        body.targetFid,
        farcaster_micros(message.data.timestamp),
        farcaster_micros(display) if display is not None else None,
        message_hash(message),
        hex_bytes(message.signer),
        base64_bytes(message.signature),
        None,
        version,
        None,
    )


def gone(message: Message, version: int, deletion: Deletion) -> Row:
    """LINK_REMOVE, or a LINK_ADD that was pruned, revoked or displaced → the tombstone of its key."""
    body = _body(message)
    return tombstone(LINKS, (message.data.fid, body.type, body.targetFid), version, deletion)


def _body(message: Message) -> LinkBody:
    body = message.data.linkBody
    if body is None:
        raise ValueError(f"{message.data.type} without linkBody")
    key_text(body.type, "link type")
    return body
