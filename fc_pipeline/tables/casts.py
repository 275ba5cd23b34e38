"""`casts`: posts, by their hash (hub-api 5.2, 7.1)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.columnar import Rejects, hash_column, json_column, key_text_column, named_column, spread
from fc_pipeline.tables.columns import LIVENESS, ArrowArray, Column, ColumnType, DataTable, Index, Row, by_utc
from fc_pipeline.tables.encoding import decoded_json, hash_bytes, said_as
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
    message_hash,
    target_hash,
    tombstone,
)
from fc_pipeline.tables.message_set import Body, MessageSet

__all__ = ["CASTS", "CAST_SET", "named"]

CASTS = DataTable(
    name="casts",
    description="Posts. A removed, pruned or revoked cast stays as a tombstone without its content.",
    sql_example=(
        "SELECT p.username, c.timestamp, c.text\nFROM casts c JOIN user_profiles p USING (fid)\n"
        "WHERE c.deleted_at IS NULL ORDER BY c.timestamp DESC LIMIT 20;"
    ),
    # A CAST_REMOVE may name any hash; it takes effect only for its own FID (hub-api 5.2, 7.1). With the FID in the key,
    # one that names another user's cast leaves a tombstone of its own and the cast unchanged.
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
        APP_FID,
        DELETED_REASON,
    ),
    indexes=(
        Index(
            ("fid", "network_time"),
            expressions=("fid", NETWORK_TIME),
            serves="a user's casts, newest first: `api.user_casts`, `api.following_feed`",
        ),
        Index(
            ("parent_hash", "network_time"),
            where="parent_hash IS NOT NULL",
            expressions=("parent_hash", NETWORK_TIME),
            serves="replies to a cast: `api.replies`, `cast_threads`",
        ),
        Index(
            ("parent_fid", "network_time"),
            where="parent_fid IS NOT NULL",
            expressions=("parent_fid", NETWORK_TIME),
            serves="replies to a user: `api.notifications`",
            is_made_later=True,
        ),
        Index(
            ("parent_url", "network_time"),
            where="parent_url IS NOT NULL",
            expressions=("parent_url", NETWORK_TIME),
            serves="a channel's casts, newest first: `api.channel_feed`",
            is_made_later=True,
        ),
        Index(
            ("network_time",),
            of_pages=True,
            expressions=(NETWORK_TIME,),
            serves="casts of a stretch of time: `api.search_casts` of common words",
            is_made_later=True,
        ),
        Index(
            ("text",),
            where="deleted_at IS NULL",
            of_words=True,
            expressions=("to_tsvector('simple'::regconfig, text)",),
            serves="`api.search_casts`",
            is_made_later=True,
        ),
        by_utc("timestamp"),
        by_utc("updated_at"),
    ),
    is_large=True,
    concerns=("fid", "parent_fid", "mentions"),
    # A CAST_REMOVE has only the cast's hash: whether that replied to a target is known from the cast itself.
    decisive_tombstones="removed",
    statistics=(LIVENESS,),
)

_TYPES = {"CAST": "cast", "LONG_CAST": "long_cast", "TEN_K_CAST": "ten_k_cast"}


def _extract(message: Message) -> Extract:
    """What the row of a CAST_ADD needs. Raises ValueError for one without its body."""
    body = message.data.castAddBody
    if body is None:
        raise ValueError("CAST_ADD without castAddBody")
    parent = body.parentCastId
    return (
        *envelope_of(message),
        body.text,
        body.type,
        parent.fid if parent else None,
        parent.hash if parent else None,
        body.parentUrl,
        body.embeds,
        body.embedsDeprecated or None,
        body.mentions,
        body.mentionsPositions,
    )


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """CAST_ADDs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 9)
    text, kind, parent_fid, parent_hash, parent_url, embeds, deprecated, mentions, positions = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "text": pa.array(text, type=pa.string()),
        "type": named_column(_TYPES, kind, "cast type", rejects),
        "parent_fid": pa.array(parent_fid, type=pa.int64()),
        "parent_hash": spread(parent_hash, hash_column, rejects),
        "parent_url": key_text_column(parent_url, "parent URL", rejects),
        "embeds": json_column(embeds, rejects),
        "embeds_deprecated": pa.array(deprecated, type=pa.list_(pa.string())),
        "mentions": pa.array(mentions, type=pa.list_(pa.int64())),
        "mentions_positions": pa.array(positions, type=pa.list_(pa.int32())),
    }
    return live_rows(CASTS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _removed(message: Message, version: int, deletion: Deletion) -> Row:
    """CAST_REMOVE → the tombstone of its target, which may never have been seen."""
    body = message.data.castRemoveBody
    if body is None:
        raise ValueError("CAST_REMOVE without castRemoveBody")
    return tombstone(CASTS, (target_hash(body), message.data.fid), version, deletion)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """A CAST_ADD that was pruned, revoked or displaced → its tombstone."""
    return tombstone(CASTS, (message_hash(message), message.data.fid), version, deletion)


def named(message: Message) -> tuple[int, list[int]]:
    """The FIDs that a removed CAST_ADD replied to (0: none) and mentioned, which its tombstone lacks."""
    body = message.data.castAddBody
    if body is None:
        return 0, []
    return body.parentCastId.fid if body.parentCastId else 0, body.mentions


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's CAST_ADD."""
    parent_hash = row["parent_hash"]
    yield {
        "embedsDeprecated": row["embeds_deprecated"],
        "mentions": row["mentions"],
        "parentCastId": None if parent_hash is None else {"fid": row["parent_fid"], "hash": parent_hash},
        "parentUrl": row["parent_url"],
        "text": row["text"],
        "mentionsPositions": row["mentions_positions"],
        "embeds": [_embed(embed) for embed in decoded_json(row["embeds"]) or []],
        "type": said_as(_TYPES, row["type"]),
    }


def _embed(embed: Any) -> Body:
    match embed:
        case {"castId": {"fid": int(fid), "hash": str(cast)}}:
            return {"castId": {"fid": fid, "hash": hash_bytes(cast)}}
        case {"url": str(url)}:
            return {"url": url}
        case _:
            raise ValueError("an embed that is neither a URL nor a cast")


CAST_SET = MessageSet(
    table=CASTS,
    add_type="MESSAGE_TYPE_CAST_ADD",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
    remove_type="MESSAGE_TYPE_CAST_REMOVE",
    removed=_removed,
    storage_type="CASTS",
    list_by_fid=HubReads.casts_by_fid,
    lists_removes=True,
)
