"""What the tables of signed messages share: the messages that become rows, the envelope's columns, and deletion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from fc_pipeline.hub.wire import CastId, CastRemoveBody, Message
from fc_pipeline.tables.columnar import Rejects, base64_column, hash_column, hex_column, time_column
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType, DataTable, Row
from fc_pipeline.tables.encoding import base64_bytes, hash_bytes, whole_hash

__all__ = [
    "APP_FID",
    "BLOCK_TIME",
    "DELETED_REASON",
    "ENVELOPE",
    "ENVELOPE_VALUES",
    "HASH",
    "NETWORK_TIME",
    "TIMESTAMP",
    "Adds",
    "Deletion",
    "Extract",
    "cast_hash",
    "envelope_of",
    "live_rows",
    "message_hash",
    "target_hash",
    "tombstone",
]

TIMESTAMP = Column(
    "timestamp", ColumnType.TIMESTAMP, "When the user says the message was made: a claim, which may be wrong"
)
HASH = Column("hash", ColumnType.BYTEA, "BLAKE3 hash of the message, 20 bytes")
BLOCK_TIME = Column(
    "block_time",
    ColumnType.TIMESTAMP,
    "Block time of the event that last decided this row; null where only a by-FID answer, which has none, told of it",
)
NETWORK_TIME = 'coalesce(block_time, "timestamp")'
"""SQL for when a message reached the network: its block's time, or the user's claim where that is not known."""
ENVELOPE = (
    BLOCK_TIME,
    Column("signer", ColumnType.BYTEA, "Ed25519 public key that signed the message"),
    Column("signature", ColumnType.BYTEA, "Signature over the hash"),
)
APP_FID = Column(
    "app_fid",
    ColumnType.BIGINT,
    "App that asked for the key which signed the message (signers.app_fid); null where none is known",
    lookup="(SELECT k.app_fid FROM public.signers AS k WHERE k.fid = {row}.fid AND k.key = {row}.signer)",
)
DELETED_REASON = Column(
    "deleted_reason",
    ColumnType.TEXT,
    "Why the row was deleted: removed, pruned, revoked, replaced, compacted, released, not_target (of a name: its "
    "holder is no target), or reconciled with a snapshot that lacks it; null means live",
)


Extract = tuple[Any, ...]
"""What a row needs of one message: what `envelope_of` gives, then its table's own values, as they are on the wire."""

ENVELOPE_VALUES = 5


@dataclass(slots=True)
class Adds:
    """Messages that become live rows of one table, in the order of their events; two lists side by side.

    A message's values are taken out of it while it is at hand: going over thousands of messages once per column costs
    more than everything else, each being out of the processor's cache again.
    """

    extracts: list[Extract] = field(default_factory=list[Extract])
    versions: list[int] = field(default_factory=list[int])

    def columns(self, count: int) -> list[tuple[Any, ...]]:
        """The values as `count` columns."""
        return list(zip(*self.extracts, strict=True)) or [()] * count


@dataclass(frozen=True, slots=True)
class Deletion:
    """That, when (block time in unix microseconds) and why a message went away."""

    deleted_at: int
    reason: str


def envelope_of(message: Message) -> Extract:
    """What every row needs of its message."""
    data = message.data
    return data.fid, data.timestamp, message.hash, message.signer, message.signature


def live_rows(
    table: DataTable,
    adds: Adds,
    envelope: Sequence[tuple[Any, ...]],
    own_columns: Mapping[str, ArrowArray],
    rejects: Rejects,
) -> pa.Table:
    """The rows of `table`: its own columns, and those that every message has, from the columns of `envelope_of`."""
    fids, timestamps, hashes, signers, signatures = envelope
    return table.columns_to_arrow(
        {
            "fid": pa.array(fids, type=pa.int64()),
            "timestamp": time_column(timestamps),
            "hash": hash_column(hashes, rejects),
            "signer": hex_column(signers, rejects),
            "signature": base64_column(signatures, rejects),
            "version": pa.array(adds.versions, type=pa.int64()),
            **own_columns,
        },
        len(adds.versions),
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
