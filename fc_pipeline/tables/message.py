"""What the tables of signed messages share: the columns of the envelope, and deletion."""

from dataclasses import dataclass

from fc_pipeline.hub.wire import CastId, CastRemoveBody, Message
from fc_pipeline.tables.columns import Column, ColumnType, DataTable, Row
from fc_pipeline.tables.encoding import base64_bytes, hex_bytes

__all__ = [
    "DELETED_REASON",
    "ENVELOPE",
    "HASH",
    "TIMESTAMP",
    "Deletion",
    "cast_hash",
    "message_hash",
    "target_hash",
    "tombstone",
]

_HASH_BYTES = 20

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
    "Why the row was deleted: removed, pruned, revoked, replaced, compacted or released; null means live",
)


@dataclass(frozen=True, slots=True)
class Deletion:
    """That, when (block time in unix microseconds) and why a message went away."""

    deleted_at: int
    reason: str


def tombstone(table: DataTable, key: Row, version: int, deletion: Deletion) -> Row:
    """The row of a deleted message: its key, which comes first in every table of messages, and that it is gone."""
    return (*key, *table.blanks, deletion.reason, version, deletion.deleted_at)


def message_hash(message: Message) -> bytes:
    """The 20 bytes of the message's hash. Raises ValueError for another length or no hex."""
    return _whole(hex_bytes(message.hash), message.hash)


def cast_hash(cast_id: CastId) -> bytes:
    """The 20 bytes of a cast id's hash, 0x-hex on the wire. Raises ValueError for another length or no hex."""
    return _whole(hex_bytes(cast_id.hash), cast_id.hash)


def target_hash(body: CastRemoveBody) -> bytes:
    """The 20 bytes of the hash that a CAST_REMOVE names in base64 (hub-api T17). Raises ValueError as above."""
    return _whole(base64_bytes(body.targetHash), body.targetHash)


def _whole(value: bytes, text: str) -> bytes:
    if len(value) != _HASH_BYTES:
        raise ValueError(f"hash {text[:80]!r} is not {_HASH_BYTES} bytes")
    return value
