"""`channel_members`: who belongs to a channel, moderates it or is banned from it (protocol-tables 3.4)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from fc_pipeline.hub.channel_bodies import ChannelMemberBody
from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.channel_slots import CHANNEL_ID, NOBODY, channel_id, channel_id_column
from fc_pipeline.tables.columnar import Rejects, named_column
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

__all__ = ["CHANNEL_MEMBERS", "MEMBER_SET"]

CHANNEL_MEMBERS: Final = DataTable(
    name="channel_members",
    group="channels",
    description="What each user is to a channel by the last action on them. The owner needs no row, and may have none.",
    sql_example=(
        "SELECT c.channel_key, m.fid AS moderator FROM channel_members m JOIN channels c USING (channel_id)\n"
        "WHERE m.state = 'moderator' AND m.deleted_at IS NULL ORDER BY 1, 2 LIMIT 20;"
    ),
    key=("channel_id", "fid"),
    columns=(
        CHANNEL_ID,
        Column("fid", ColumnType.BIGINT, "The member", nullable=False),
        Column("state", ColumnType.TEXT, "member, moderator, removed or banned"),
        Column("author_fid", ColumnType.BIGINT, "By whom; the member itself if it joined or left"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(
        Index(("fid",), serves="channels of a user"),
        Index(("author_fid",), serves="an FID's messages: snapshots, targets"),
    ),
    concerns=NOBODY,
    comparison=Comparison.NONE,
    is_of_one_shard=True,
)

_STATES: Final = {
    "CHANNEL_MEMBER_ACTION_ADD_MEMBER": "member",
    "CHANNEL_MEMBER_ACTION_REMOVE_MODERATOR": "member",
    "CHANNEL_MEMBER_ACTION_ADD_MODERATOR": "moderator",
    "CHANNEL_MEMBER_ACTION_REMOVE_MEMBER": "removed",
    "CHANNEL_MEMBER_ACTION_UNBAN": "removed",
    "CHANNEL_MEMBER_ACTION_BAN": "banned",
}


def _extract(message: Message) -> Extract:
    """What the row of a CHANNEL_MEMBER needs. Raises ValueError for one without its body."""
    body = _body(message)
    return (*envelope_of(message), body.channelId, body.fid, body.action)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """CHANNEL_MEMBERs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 3)
    envelope = columns[:ENVELOPE_VALUES]
    ids, fids, actions = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "channel_id": channel_id_column(ids, rejects),
        "fid": pa.array(fids, type=pa.int64()),
        "state": named_column(_STATES, actions, "channel member action", rejects),
        "author_fid": pa.array(envelope[0], type=pa.int64()),
    }
    return live_rows(CHANNEL_MEMBERS, adds, envelope, own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """An action that another one replaced → the tombstone of its slot, which the other one fills."""
    body = _body(message)
    return tombstone(CHANNEL_MEMBERS, (channel_id(body.channelId), body.fid), version, deletion)


def _body(message: Message) -> ChannelMemberBody:
    body = message.data.channelMemberBody
    if body is None:
        raise ValueError(f"{message.data.type} without channelMemberBody")
    return body


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The bodies that a row's CHANNEL_MEMBER may have had: several actions lead to the same state."""
    for action, state in _STATES.items():
        if state == row["state"]:
            yield {"channelId": row["channel_id"], "fid": row["fid"], "action": action}


MEMBER_SET: Final = MessageSet(
    table=CHANNEL_MEMBERS,
    add_type="MESSAGE_TYPE_CHANNEL_MEMBER",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
    author="author_fid",
)
