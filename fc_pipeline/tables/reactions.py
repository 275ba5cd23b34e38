"""`reactions`: likes and recasts, by author, type and target (hub-api 5.2, 7.1)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import Message, ReactionBody
from fc_pipeline.tables.columnar import (
    Rejects,
    binary_column,
    by_value,
    fixed_rows,
    hash_column,
    named_column,
    spread,
)
from fc_pipeline.tables.columns import LIVENESS, ArrowArray, Column, ColumnType, DataTable, Index, KeyedFid, Row, by_utc
from fc_pipeline.tables.encoding import HASH_BYTES, key_text, named, said_as
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
    cast_hash,
    envelope_of,
    live_rows,
    tombstone,
)
from fc_pipeline.tables.message_set import Body, MessageSet

__all__ = ["REACTIONS", "REACTION_SET"]


def _target_fids(targets: "pa.ChunkedArray[Any]") -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Values of `target` → the FIDs of the casts among them, and their places; URLs have none."""
    keys = targets.combine_chunks()
    of_cast = pc.equal(pc.binary_slice(keys, 0, 1), pa.scalar(b"\x01")).to_numpy(zero_copy_only=False)
    fids: list[Any] = pc.binary_slice(keys.filter(pa.array(of_cast, pa.bool_())), 1, 9).to_pylist()
    return np.frombuffer(b"".join(fids), ">u8").astype(np.int64), np.flatnonzero(of_cast)


REACTIONS = DataTable(
    name="reactions",
    description="Likes and recasts of casts and URLs.",
    sql_example=(
        "SELECT encode(target_hash, 'hex') AS cast_hash, count(*) AS likes\nFROM reactions\n"
        "WHERE type = 'like' AND deleted_at IS NULL AND target_hash IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 20;"
    ),
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
        APP_FID,
        DELETED_REASON,
    ),
    indexes=(
        Index(
            ("target_hash", "type", "network_time"),
            where="target_hash IS NOT NULL",
            expressions=("target_hash", "type", NETWORK_TIME),
            serves="reactions of a cast, newest first: `api.cast_reactions`",
        ),
        Index(
            ("target_fid", "network_time"),
            where="target_fid IS NOT NULL",
            expressions=("target_fid", NETWORK_TIME),
            serves="reactions that a user received: `api.notifications`, checks of `user_counts`",
        ),
        Index(
            ("network_time",),
            of_pages=True,
            expressions=(NETWORK_TIME,),
            serves="reactions of a stretch of time: `api.trending`",
            is_made_later=True,
        ),
        by_utc("timestamp"),
        by_utc("updated_at"),
    ),
    statistics=(LIVENESS, ("reaction_type", "(CASE type WHEN 'like' THEN 1 WHEN 'recast' THEN 2 END)::smallint")),
    is_large=True,
    concerns=("fid", "target_fid"),
    keyed_fid=KeyedFid(
        "target_fid",
        "target",
        _target_fids,
        "coalesce(t.target_fid, CASE WHEN get_byte(t.target, 0) = 1 THEN "
        "('x' || encode(substring(t.target from 2 for 8), 'hex'))::bit(64)::bigint END)",
    ),
)

_TYPES = {"REACTION_TYPE_LIKE": "like", "REACTION_TYPE_RECAST": "recast"}


def _extract(message: Message) -> Extract:
    """What the row of a REACTION_ADD needs. Raises ValueError for one without its body or a target."""
    body = _body(message)
    cast_id = body.targetCastId
    if cast_id is not None:
        return (*envelope_of(message), body.type, cast_id.fid, cast_id.hash, body.targetUrl)
    if body.targetUrl is None:
        raise ValueError("reaction without a target")
    return (*envelope_of(message), body.type, None, None, body.targetUrl)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """REACTION_ADDs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 4)
    kinds, target_fids, target_hashes, urls = columns[ENVELOPE_VALUES:]
    target_hash = spread(target_hashes, hash_column, rejects)
    own: dict[str, ArrowArray] = {
        "type": named_column(_TYPES, kinds, "reaction type", rejects),
        "target": _target_column(target_fids, target_hash, urls, rejects),
        "target_fid": pa.array(target_fids, type=pa.int64()),
        "target_hash": target_hash,
        "target_url": pa.array(urls, type=pa.string()),
    }
    return live_rows(REACTIONS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _target_column(
    target_fids: Sequence[int | None], target_hash: ArrowArray, urls: Sequence[str | None], rejects: Rejects
) -> ArrowArray:
    """The targets' keys: those of casts made of their columns at once, the few others one by one."""
    of_cast = target_hash.is_valid().to_numpy(zero_copy_only=False)
    others = np.flatnonzero(~of_cast).tolist()
    # A cast without its hash was rejected already.
    other_keys = by_value([urls[row] for row in others], _url_key, pa.binary(), rejects.part(others))
    fids = [fid for fid, is_cast in zip(target_fids, of_cast, strict=True) if is_cast]
    casts = np.empty((len(fids), 1 + 8 + HASH_BYTES), np.uint8)
    casts[:, 0] = 1
    casts[:, 1:9] = np.array(fids, ">u8").view(np.uint8).reshape(-1, 8)
    casts[:, 9:] = fixed_rows(target_hash.drop_null(), HASH_BYTES)
    if not others:
        return binary_column(casts)
    places = np.empty(len(urls), np.int64)
    places[of_cast] = np.arange(len(casts))
    places[~of_cast] = len(casts) + np.arange(len(others))
    return pa.concat_arrays([binary_column(casts), other_keys]).take(pa.array(places, type=pa.int64()))


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
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
        return _url_key(body.targetUrl)
    raise ValueError("reaction without a target")


def _url_key(url: str) -> bytes:
    return b"\x02" + key_text(url, "target URL").encode()


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's REACTION_ADD."""
    target_hash = row["target_hash"]
    yield {
        "type": said_as(_TYPES, row["type"]),
        "targetCastId": None if target_hash is None else {"fid": row["target_fid"], "hash": target_hash},
        "targetUrl": row["target_url"],
    }


REACTION_SET = MessageSet(
    table=REACTIONS,
    add_type="MESSAGE_TYPE_REACTION_ADD",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
    remove_type="MESSAGE_TYPE_REACTION_REMOVE",
    removed=_tombstone,
    storage_type="REACTIONS",
    list_by_fid=HubReads.reactions_by_fid,
)
