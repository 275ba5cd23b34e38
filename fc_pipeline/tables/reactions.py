"""`reactions`: likes and recasts, by author, type and target (hub-api 5.2, 7.1)."""

from collections.abc import Sequence
from operator import attrgetter

import numpy as np
import pyarrow as pa

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
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType, DataTable, Index, Row
from fc_pipeline.tables.encoding import HASH_BYTES, key_text, named
from fc_pipeline.tables.message import (
    DELETED_REASON,
    ENVELOPE,
    HASH,
    TIMESTAMP,
    Adds,
    Deletion,
    cast_hash,
    live_rows,
    tombstone,
)

__all__ = ["REACTIONS", "added", "body_of", "gone"]

REACTIONS = DataTable(
    name="reactions",
    description="Likes and recasts of casts and URLs.",
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
        DELETED_REASON,
    ),
    indexes=(Index(("target_hash",), where="target_hash IS NOT NULL"),),
)

_TYPES = {"REACTION_TYPE_LIKE": "like", "REACTION_TYPE_RECAST": "recast"}


body_of = attrgetter("reactionBody")
"""MessageData → its ReactionBody or None."""


def added(adds: Adds[ReactionBody], rejects: Rejects) -> pa.Table:
    """REACTION_ADDs → their live rows."""
    bodies = adds.bodies
    casts = [body.targetCastId for body in bodies]
    target_hash = spread([cast_id.hash if cast_id else None for cast_id in casts], hash_column, rejects)
    columns: dict[str, ArrowArray] = {
        "type": named_column(_TYPES, [body.type for body in bodies], "reaction type", rejects),
        "target": _target_column(bodies, target_hash, rejects),
        "target_fid": pa.array([cast_id.fid if cast_id else None for cast_id in casts], type=pa.int64()),
        "target_hash": target_hash,
        "target_url": pa.array([body.targetUrl for body in bodies], type=pa.string()),
    }
    return live_rows(REACTIONS, adds, columns, rejects)


def _target_column(bodies: Sequence[ReactionBody], target_hash: ArrowArray, rejects: Rejects) -> ArrowArray:
    """The targets' keys: those of casts made of their columns at once, the few others one by one."""
    of_cast = target_hash.is_valid().to_numpy(zero_copy_only=False)
    if not of_cast.any():
        return by_value(bodies, _target, pa.binary(), rejects)
    casts = np.empty((int(of_cast.sum()), 1 + 8 + HASH_BYTES), np.uint8)
    casts[:, 0] = 1
    cast_ids = [body.targetCastId for body, is_cast in zip(bodies, of_cast, strict=True) if is_cast]
    fids = [cast_id.fid for cast_id in cast_ids if cast_id]
    casts[:, 1:9] = np.array(fids, ">u8").view(np.uint8).reshape(-1, 8)
    casts[:, 9:] = fixed_rows(target_hash.drop_null(), HASH_BYTES)
    if of_cast.all():
        return binary_column(casts)
    others = np.flatnonzero(~of_cast).tolist()
    other_keys = by_value([bodies[row] for row in others], _target, pa.binary(), rejects.part(others))
    places = np.empty(len(bodies), np.int64)
    places[of_cast] = np.arange(len(casts))
    places[~of_cast] = len(casts) + np.arange(len(others))
    return pa.concat_arrays([binary_column(casts), other_keys]).take(pa.array(places, type=pa.int64()))


def gone(message: Message, version: int, deletion: Deletion) -> Row:
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
        return b"\x02" + key_text(body.targetUrl, "target URL").encode()
    raise ValueError("reaction without a target")
