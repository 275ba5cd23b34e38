"""`channel_settings`: how a channel shows itself, and who may cast and join (protocol-tables 3.3)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from fc_pipeline.hub.channel_bodies import ChannelUpdateBody
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

__all__ = ["CHANNEL_SETTINGS", "DEFAULT_CASTING_MODE", "DEFAULT_MEMBERSHIP_MODE", "SETTINGS", "SETTINGS_SET"]

DEFAULT_CASTING_MODE: Final = "members_only"
DEFAULT_MEMBERSHIP_MODE: Final = "approval"
"""The modes of a channel that sets none, or has no settings at all."""

_TEXTS: Final = (
    Column("name", ColumnType.TEXT, "Title to show; null where unset, as in the four that follow"),
    Column("description", ColumnType.TEXT, "What the channel is about"),
    Column("image_url", ColumnType.TEXT, "Its picture; any string"),
    Column("header", ColumnType.TEXT, "Its header; any string"),
    Column("rules", ColumnType.TEXT, "Its rules"),
)
SETTINGS: Final = (
    *_TEXTS,
    Column("casting_mode", ColumnType.TEXT, "everyone, members_only or recommended: advice that nothing enforces"),
    Column("membership_mode", ColumnType.TEXT, "open: whoever likes may join; approval: owner or moderators add"),
)
"""What a CHANNEL_UPDATE sets, all of it at once."""

CHANNEL_SETTINGS: Final = DataTable(
    name="channel_settings",
    group="channels",
    description="What the owner set last, as a whole: a field that an update leaves out is unset.",
    sql_example=(
        "SELECT encode(channel_id, 'hex') AS channel_id, name, membership_mode, fid AS set_by FROM channel_settings\n"
        "WHERE deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;"
    ),
    key=("channel_id",),
    columns=(
        CHANNEL_ID,
        *SETTINGS,
        Column("fid", ColumnType.BIGINT, "Who set it: the owner at that time"),
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

_CASTING_MODES: Final = {
    "CASTING_MODE_NONE": DEFAULT_CASTING_MODE,
    "CASTING_MODE_EVERYONE": "everyone",
    "CASTING_MODE_MEMBERS_ONLY": "members_only",
    "CASTING_MODE_RECOMMENDED": "recommended",
}
_MEMBERSHIP_MODES: Final = {
    "MEMBERSHIP_MODE_NONE": DEFAULT_MEMBERSHIP_MODE,
    "MEMBERSHIP_MODE_OPEN": "open",
    "MEMBERSHIP_MODE_APPROVAL": "approval",
}


def _extract(message: Message) -> Extract:
    """What the row of a CHANNEL_UPDATE needs. Raises ValueError for one without its body."""
    body = _body(message)
    texts = (body.name, body.description, body.imageUrl, body.header, body.rules)
    casting_mode = body.castingMode or "CASTING_MODE_NONE"
    membership_mode = body.membershipMode or "MEMBERSHIP_MODE_NONE"
    return (*envelope_of(message), *texts, body.channelId, casting_mode, membership_mode)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """CHANNEL_UPDATEs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + len(_TEXTS) + 3)
    ids, casting_modes, membership_modes = columns[ENVELOPE_VALUES + len(_TEXTS) :]
    own: dict[str, ArrowArray] = {
        column.name: pa.array(texts, type=pa.string())
        for column, texts in zip(_TEXTS, columns[ENVELOPE_VALUES:-3], strict=True)
    }
    own |= {
        "channel_id": channel_id_column(ids, rejects),
        "casting_mode": named_column(_CASTING_MODES, casting_modes, "casting mode", rejects),
        "membership_mode": named_column(_MEMBERSHIP_MODES, membership_modes, "membership mode", rejects),
    }
    return live_rows(CHANNEL_SETTINGS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """Settings that others replaced → the tombstone of their slot, which the others fill."""
    return tombstone(CHANNEL_SETTINGS, (channel_id(_body(message).channelId),), version, deletion)


def _body(message: Message) -> ChannelUpdateBody:
    body = message.data.channelUpdateBody
    if body is None:
        raise ValueError(f"{message.data.type} without channelUpdateBody")
    return body


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The bodies that a row's CHANNEL_UPDATE may have had: a mode that is the default may have been said or not."""
    texts = dict(
        zip(("name", "description", "imageUrl", "header", "rules"), (row[c.name] for c in _TEXTS), strict=True)
    )
    for casting in _modes(_CASTING_MODES, row["casting_mode"]):
        for membership in _modes(_MEMBERSHIP_MODES, row["membership_mode"]):
            yield {
                "channelId": row["channel_id"],
                **texts,
                "castingMode": casting,
                "membershipMode": membership,
            }


def _modes(names: Mapping[str, str], word: str) -> list[str | None]:
    """What may have been said for a mode; None is nothing."""
    said = [name for name, one in names.items() if one == word]
    return [*said, *([None] if any(name.endswith("_NONE") for name in said) else [])]


SETTINGS_SET: Final = MessageSet(
    table=CHANNEL_SETTINGS,
    add_type="MESSAGE_TYPE_CHANNEL_UPDATE",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
)
