"""`channel_moderations`: casts that a channel hides, or shows again (protocol-tables 3.3)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from fc_pipeline.hub.channel_bodies import ChannelModerateBody
from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.channel_slots import CHANNEL_ID, NOBODY, channel_id, channel_id_column
from fc_pipeline.tables.columnar import Rejects, hash_column, named_column
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType, Comparison, DataTable, Index, Row
from fc_pipeline.tables.encoding import hash_bytes, said_as
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

__all__ = ["CHANNEL_MODERATIONS", "MODERATION_SET"]

CHANNEL_MODERATIONS: Final = DataTable(
    name="channel_moderations",
    group="channels",
    description="The last word of a channel's owner or moderators on a cast: hidden, or shown again.",
    sql_example=(
        "SELECT c.channel_key, m.cast_hash, m.fid AS moderator FROM channel_moderations m\n"
        "JOIN channels c USING (channel_id) WHERE m.action = 'hide' AND m.deleted_at IS NULL\n"
        "ORDER BY m.timestamp DESC LIMIT 20;"
    ),
    key=("channel_id", "cast_hash"),
    columns=(
        CHANNEL_ID,
        Column("cast_hash", ColumnType.BYTEA, "The cast, which need not exist", nullable=False),
        Column("action", ColumnType.TEXT, "hide or unhide"),
        Column("fid", ColumnType.BIGINT, "Who moderated"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(
        Index(("cast_hash",), serves="whether a cast is hidden"),
        Index(("fid",), serves="an FID's messages: snapshots, targets"),
    ),
    concerns=NOBODY,
    comparison=Comparison.NONE,
    is_of_one_shard=True,
)

_ACTIONS: Final = {"CHANNEL_MODERATE_ACTION_HIDE": "hide", "CHANNEL_MODERATE_ACTION_UNHIDE": "unhide"}


def _extract(message: Message) -> Extract:
    """What the row of a CHANNEL_MODERATE needs. Raises ValueError for one without its body."""
    body = _body(message)
    return (*envelope_of(message), body.channelId, body.castHash, body.action)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """CHANNEL_MODERATEs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 3)
    ids, casts, actions = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "channel_id": channel_id_column(ids, rejects),
        "cast_hash": hash_column(casts, rejects),
        "action": named_column(_ACTIONS, actions, "channel moderation", rejects),
    }
    return live_rows(CHANNEL_MODERATIONS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """A moderation that another one replaced → the tombstone of its slot, which the other one fills."""
    body = _body(message)
    key = (channel_id(body.channelId), hash_bytes(body.castHash))
    return tombstone(CHANNEL_MODERATIONS, key, version, deletion)


def _body(message: Message) -> ChannelModerateBody:
    body = message.data.channelModerateBody
    if body is None:
        raise ValueError(f"{message.data.type} without channelModerateBody")
    return body


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's CHANNEL_MODERATE."""
    yield {
        "channelId": row["channel_id"],
        "castHash": row["cast_hash"],
        "action": said_as(_ACTIONS, row["action"]),
    }


MODERATION_SET: Final = MessageSet(
    table=CHANNEL_MODERATIONS,
    add_type="MESSAGE_TYPE_CHANNEL_MODERATE",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
)
