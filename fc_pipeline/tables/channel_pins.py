"""`channel_pins`: the cast that a channel shows first (protocol-tables 3.3)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from fc_pipeline.hub.channel_bodies import ChannelPinBody
from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.channel_slots import CHANNEL_ID, NOBODY, cast_hash_or_none, channel_id, channel_id_column
from fc_pipeline.tables.columnar import Rejects, by_value
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType, Comparison, DataTable, Index, Row
from fc_pipeline.tables.message import (
    DELETED_REASON,
    ENVELOPE,
    ENVELOPE_VALUES,
    HASH,
    TIMESTAMP,
    Adds,
    Deletion,
    Extract,
    envelope_of,
    live_rows,
    tombstone,
)
from fc_pipeline.tables.message_set import Body, MessageSet

__all__ = ["CHANNEL_PINS", "PIN_SET"]

CHANNEL_PINS: Final = DataTable(
    name="channel_pins",
    group="channels",
    description="The pinned cast of each channel that ever had one.",
    sql_example=(
        "SELECT c.channel_key, p.cast_hash, p.fid AS pinned_by FROM channel_pins p JOIN channels c USING (channel_id)\n"
        "WHERE p.cast_hash IS NOT NULL AND p.deleted_at IS NULL ORDER BY p.timestamp DESC LIMIT 20;"
    ),
    key=("channel_id",),
    columns=(
        CHANNEL_ID,
        Column("cast_hash", ColumnType.BYTEA, "The cast, which need not exist; null: nothing is pinned"),
        Column("fid", ColumnType.BIGINT, "Who pinned or unpinned"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(Index(("fid",), serves="an FID's messages: snapshots, targets"),),
    concerns=NOBODY,
    comparison=Comparison.NONE,
    is_of_one_shard=True,
)


def _extract(message: Message) -> Extract:
    """What the row of a CHANNEL_PIN needs. Raises ValueError for one without its body."""
    body = _body(message)
    return (*envelope_of(message), body.channelId, body.castHash)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """CHANNEL_PINs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 2)
    ids, casts = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "channel_id": channel_id_column(ids, rejects),
        "cast_hash": by_value(casts, cast_hash_or_none, pa.binary(), rejects),
    }
    return live_rows(CHANNEL_PINS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """A pin that another one replaced → the tombstone of its slot, which the other one fills."""
    return tombstone(CHANNEL_PINS, (channel_id(_body(message).channelId),), version, deletion)


def _body(message: Message) -> ChannelPinBody:
    body = message.data.channelPinBody
    if body is None:
        raise ValueError(f"{message.data.type} without channelPinBody")
    return body


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's CHANNEL_PIN."""
    yield {"channelId": row["channel_id"], "castHash": row["cast_hash"] or b""}


PIN_SET: Final = MessageSet(
    table=CHANNEL_PINS,
    add_type="MESSAGE_TYPE_CHANNEL_PIN",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
)
