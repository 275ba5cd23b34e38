"""`links`: follows and the like, by author, type and target, and the compact states that mask them (hub-api 7.4)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import LinkBody, Message
from fc_pipeline.tables.columnar import Rejects, key_text_column, spread, time_column
from fc_pipeline.tables.columns import LIVENESS, ArrowArray, Column, ColumnType, DataTable, Index, Row, by_utc
from fc_pipeline.tables.encoding import farcaster_seconds, key_text
from fc_pipeline.tables.message import (
    APP_FID,
    DELETED_REASON,
    ENVELOPE,
    ENVELOPE_VALUES,
    HASH,
    NETWORK_TIME,
    TIMESTAMP,
    Adds,
    Deletion,
    Extract,
    envelope_of,
    live_rows,
    tombstone,
)
from fc_pipeline.tables.message_set import Body, MessageSet

__all__ = ["LINKS", "LINK_SET"]

LINKS = DataTable(
    name="links",
    description="Who follows (or blocks, …) whom.",
    sql_example=(
        "SELECT target_fid, count(*) AS followers\nFROM links WHERE type = 'follow' AND deleted_at IS NULL\n"
        "GROUP BY 1 ORDER BY 2 DESC LIMIT 20;"
    ),
    key=("fid", "type", "target_fid"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Who follows", nullable=False),
        Column("type", ColumnType.TEXT, "follow, block, … as the user wrote it", nullable=False),
        Column("target_fid", ColumnType.BIGINT, "Who is followed", nullable=False),
        TIMESTAMP,
        Column("display_timestamp", ColumnType.TIMESTAMP, "Time to show instead, where the user gave one"),
        HASH,
        *ENVELOPE,
        APP_FID,
        DELETED_REASON,
    ),
    indexes=(
        Index(
            ("target_fid", "type", "network_time"),
            expressions=("target_fid", "type", NETWORK_TIME),
            serves="a user's followers, newest first: `api.followers`, `api.notifications`",
        ),
        by_utc("timestamp"),
        by_utc("updated_at"),
    ),
    is_large=True,
    concerns=("fid", "target_fid"),
    is_compacted=True,
    statistics=(LIVENESS,),
)


def _extract(message: Message) -> Extract:
    """What the row of a LINK_ADD needs. Raises ValueError for one without its body."""
    body = _body(message)
    return (*envelope_of(message), body.type, body.targetFid, body.displayTimestamp)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """LINK_ADDs → their live rows, before compact states are applied."""
    columns = adds.columns(ENVELOPE_VALUES + 3)
    kind, target_fid, shown = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "type": key_text_column(kind, "link type", rejects),
        "target_fid": pa.array(target_fid, type=pa.int64()),
        "display_timestamp": spread(shown, lambda seconds, _: time_column(seconds), rejects),
    }
    return live_rows(LINKS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """LINK_REMOVE, or a LINK_ADD that was pruned, revoked or displaced → the tombstone of its key."""
    body = _body(message)
    return tombstone(LINKS, (message.data.fid, body.type, body.targetFid), version, deletion)


def _body(message: Message) -> LinkBody:
    body = message.data.linkBody
    if body is None:
        raise ValueError(f"{message.data.type} without linkBody")
    key_text(body.type, "link type")
    return body


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's LINK_ADD."""
    shown = row["display_timestamp"]
    yield {
        "type": row["type"],
        "displayTimestamp": None if shown is None else farcaster_seconds(shown),
        "targetFid": row["target_fid"],
    }


LINK_SET = MessageSet(
    table=LINKS,
    add_type="MESSAGE_TYPE_LINK_ADD",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
    remove_type="MESSAGE_TYPE_LINK_REMOVE",
    removed=_tombstone,
    storage_type="LINKS",
    list_by_fid=HubReads.links_by_fid,
)
