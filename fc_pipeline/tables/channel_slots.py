"""What the tables of channel messages share: a channel's id, and that the last message of a slot decides.

Each message fills a slot of its channel, whoever signed it, and what stood there before is gone: timestamps and hashes
are never compared, and a message that was replaced may be sent again (protocol-tables 3.3). Shard 0 decides the order,
and every shard's feed repeats it.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from fc_pipeline.tables.columnar import Rejects, by_value
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType
from fc_pipeline.tables.encoding import hash_bytes, hex_bytes

__all__ = ["CHANNEL_ID", "NOBODY", "cast_hash_or_none", "channel_id", "channel_id_column"]

_CHANNEL_ID_BYTES: Final = 32

CHANNEL_ID: Final = Column(
    "channel_id", ColumnType.BYTEA, "The channel: keccak256 of its name, 32 bytes", nullable=False
)

# By whomever: the author of the next message of a slot may be no target, and without that message the slot would go on
# showing what is over.
NOBODY: Final[tuple[str, ...]] = ()
"""For whose sake the row of a slot is kept where only targets are replicated: nobody's, for it is kept for all."""


def channel_id(text: str) -> bytes:
    """The 32 bytes of a channel's `0x…` id. Raises ValueError for another length or no hex."""
    value = hex_bytes(text)
    if len(value) != _CHANNEL_ID_BYTES:
        raise ValueError(f"channel id {text[:80]!r} is not {_CHANNEL_ID_BYTES} bytes")
    return value


def channel_id_column(texts: Sequence[str], rejects: Rejects) -> ArrowArray:
    """`0x…` ids of channels → their 32 bytes; another length is rejected."""
    return by_value(texts, channel_id, pa.binary(), rejects)


def cast_hash_or_none(text: str) -> bytes | None:
    """The 20 bytes of a cast's `0x…` hash; None for an empty one. Raises ValueError for another length or no hex."""
    return hash_bytes(text) if hex_bytes(text) else None
