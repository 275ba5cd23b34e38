"""What the tables of signed messages share: the columns of the envelope, and deletion."""

from dataclasses import dataclass

from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.columns import Column, ColumnType
from fc_pipeline.tables.encoding import hex_bytes

__all__ = ["DELETED_REASON", "ENVELOPE", "HASH", "TIMESTAMP", "Deletion", "message_hash"]

_HASH_BYTES = 20

TIMESTAMP = Column("timestamp", ColumnType.TIMESTAMP, "When the user says the message was made; a claim (hub-api T6)")
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


def message_hash(message: Message) -> bytes:
    """The 20 bytes of the message's hash. Raises ValueError for another length or no hex."""
    value = hex_bytes(message.hash)
    if len(value) != _HASH_BYTES:
        raise ValueError(f"hash {message.hash[:80]!r} is not {_HASH_BYTES} bytes")
    return value
