"""What the tables of signed messages share: the messages that become rows, the envelope's columns, and deletion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa

from fc_pipeline.hub.wire import CastId, CastRemoveBody, Message
from fc_pipeline.tables.columnar import Rejects, base64_column, hash_column, hex_column, time_column
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType, DataTable, Row
from fc_pipeline.tables.encoding import base64_bytes, hash_bytes, whole_hash

__all__ = [
    "DELETED_REASON",
    "ENVELOPE",
    "HASH",
    "TIMESTAMP",
    "Adds",
    "Deletion",
    "cast_hash",
    "live_rows",
    "message_hash",
    "target_hash",
    "tombstone",
]

TIMESTAMP = Column(
    "timestamp", ColumnType.TIMESTAMP, "When the user says the message was made: a claim, which may be wrong"
)
HASH = Column("hash", ColumnType.BYTEA, "BLAKE3 hash of the message, 20 bytes")
ENVELOPE = (
    Column("signer", ColumnType.BYTEA, "Ed25519 public key that signed the message"),
    Column("signature", ColumnType.BYTEA, "Signature over the hash"),
)
DELETED_REASON = Column(
    "deleted_reason",
    ColumnType.TEXT,
    "Why the row was deleted: removed, pruned, revoked, replaced, compacted, released, or reconciled with a snapshot "
    "that lacks it; null means live",
)


Body = TypeVar("Body")


@dataclass(slots=True)
class Adds(Generic[Body]):
    """Messages that become live rows of one table, in the order of their events; three lists side by side."""

    messages: list[Message] = field(default_factory=list[Message])
    bodies: list[Body] = field(default_factory=list[Body])
    versions: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class Deletion:
    """That, when (block time in unix microseconds) and why a message went away."""

    deleted_at: int
    reason: str


def live_rows(table: DataTable, adds: Adds[Any], own_columns: Mapping[str, ArrowArray], rejects: Rejects) -> pa.Table:
    """The rows of `table` with its own columns and those that every message has."""
    messages = adds.messages
    data = [message.data for message in messages]
    return table.columns_to_arrow(
        {
            "fid": pa.array([each.fid for each in data], type=pa.int64()),
            "timestamp": time_column([each.timestamp for each in data]),
            "hash": hash_column([message.hash for message in messages], rejects),
            "signer": hex_column([message.signer for message in messages], rejects),
            "signature": base64_column([message.signature for message in messages], rejects),
            "version": pa.array(adds.versions, type=pa.int64()),
            **own_columns,
        },
        len(messages),
    )


def tombstone(table: DataTable, key: Row, version: int, deletion: Deletion) -> Row:
    """The row of a deleted message: its key, which comes first in every table of messages, and that it is gone."""
    return (*key, *table.blanks, deletion.reason, version, deletion.deleted_at)


def message_hash(message: Message) -> bytes:
    """The 20 bytes of the message's hash. Raises ValueError for another length or no hex."""
    return hash_bytes(message.hash)


def cast_hash(cast_id: CastId) -> bytes:
    """The 20 bytes of a cast id's hash, 0x-hex on the wire. Raises ValueError for another length or no hex."""
    return hash_bytes(cast_id.hash)


def target_hash(body: CastRemoveBody) -> bytes:
    """The 20 bytes of the hash that a CAST_REMOVE names in base64 (hub-api T17). Raises ValueError as above."""
    return whole_hash(base64_bytes(body.targetHash), body.targetHash)
