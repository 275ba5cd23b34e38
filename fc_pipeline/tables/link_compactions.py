"""Link compact states: what masks an FID's older links (hub-api 7.4). Kept, for older links may still arrive."""

from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Row
from fc_pipeline.tables.encoding import farcaster_micros
from fc_pipeline.tables.message import message_hash

__all__ = ["LINK_COMPACTIONS", "SCOPED_SINCE", "merged"]

SCOPED_SINCE = 175_701_600
"""Farcaster second (2026-07-27 14:00 UTC, protocol V19) since which a compact state masks only its own link type."""

LINK_COMPACTIONS = DataTable(
    name="link_compactions",
    schema="pipeline",
    description="Every LINK_COMPACT_STATE: links of the FID that are older and not in it are deleted.",
    key=("fid", "version"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Whose links", nullable=False),
        Column("type", ColumnType.TEXT, "Link type", nullable=False),
        Column("timestamp", ColumnType.TIMESTAMP, "Links made up to this time are masked", nullable=False),
        Column("scoped", ColumnType.BOOLEAN, "Whether only links of this type are masked", nullable=False),
        Column("target_fids", ColumnType.BIGINTS, "Targets whose links stay", nullable=False),
        Column("compacted_at", ColumnType.TIMESTAMP, "Block time", nullable=False),
        Column("hash", ColumnType.BYTEA, "Hash of the message"),
    ),
    comparison=Comparison.NONE,
    is_read_by_change=False,
)


def merged(message: Message, version: int, block_micros: int) -> Row:
    """LINK_COMPACT_STATE → its row."""
    body = message.data.linkCompactStateBody
    if body is None:
        raise ValueError("LINK_COMPACT_STATE without linkCompactStateBody")
    return (
        message.data.fid,
        body.type,
        farcaster_micros(message.data.timestamp),
        message.data.timestamp >= SCOPED_SINCE,
        body.targetFids,
        block_micros,
        message_hash(message),
        version,
        None,
    )
