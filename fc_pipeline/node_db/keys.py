"""How the rows of a node's database are keyed (node-db 2): prefixes, and the bounds of what is scanned.

Integers are big-endian; an FID stands as its lower 32 bits.
"""

from typing import Final, NamedTuple

__all__ = [
    "BLOCKS",
    "BORROWERS",
    "COMPACT_STATES",
    "CONTRACT_EVENTS",
    "CONTRACT_TYPES",
    "EVENTS",
    "FID_SPACE",
    "GASLESS_KEYS",
    "KEY_LAST_USED",
    "LENDS",
    "MESSAGES",
    "NAMES",
    "REGISTERED",
    "REPLICATION",
    "SCHEMA_VERSION",
    "SETS",
    "TRIE",
    "Bounds",
    "FidRange",
    "below",
    "fid_of",
    "trie_key",
]

FID_SPACE: Final = 1 << 32

BLOCKS: Final = b"\x02"
MESSAGES: Final = b"\x03"
TRIE: Final = b"\x08"
EVENTS: Final = b"\x09"
NAMES: Final = b"\x0b"
CONTRACT_EVENTS: Final = b"\x0c\x01"
CONTRACT_TYPES: Final = range(1, 7)
"""Types of contract events, each below its own prefix."""
REGISTERED: Final = b"\x0c\x34"
SCHEMA_VERSION: Final = b"\x0d"
REPLICATION: Final = b"\x15"
"""A row with this prefix says that a bootstrap by replication is not at its end."""
BORROWERS: Final = b"\x16"
GASLESS_KEYS: Final = b"\x17\x69"
KEY_LAST_USED: Final = b"\x17\x68"

SETS: Final = range(1, 13)
"""Postfixes below an FID's prefix that hold its messages; all above but compact states are indexes of these."""
LENDS: Final = 8
COMPACT_STATES: Final = 100


class Bounds(NamedTuple):
    """Keys from `low` on and below `high`."""

    low: bytes
    high: bytes


class FidRange(NamedTuple):
    """FIDs from `first` on and below `end`, by their lower 32 bits."""

    first: int
    end: int

    def bounds(self, prefix: bytes) -> Bounds:
        """The keys of these FIDs below a prefix that an FID follows."""
        low = prefix + self.first.to_bytes(4, "big")
        return Bounds(low, below(prefix).high if self.end >= FID_SPACE else prefix + self.end.to_bytes(4, "big"))


def below(prefix: bytes) -> Bounds:
    """All keys that begin with a prefix, whose last byte is not the highest."""
    return Bounds(prefix, prefix[:-1] + bytes((prefix[-1] + 1,)))


def fid_of(key: bytes, prefix: bytes) -> int:
    """The FID that follows a prefix."""
    return int.from_bytes(key[len(prefix) : len(prefix) + 4], "big")


def trie_key(path: bytes) -> bytes:
    """The row of the trie's node at a path, which has one nibble a byte."""
    return TRIE + path
