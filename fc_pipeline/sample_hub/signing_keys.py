"""The keys with which generated users sign: made of the FID alone, so that whoever goes on with a log has them, too."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["SigningKey", "gasless_key", "own_registry_key", "registry_key"]

_KEPT: Final = 1 << 14
"""Making a key takes about as long as signing once."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key; `public` is 0x-hex, as messages and contract events name it."""

    private: Ed25519PrivateKey
    public: str


@lru_cache(_KEPT)
def registry_key(fid: int, number: int) -> SigningKey:
    """The key that a user adds to the registry as the first, the second, ... (from 1 on)."""
    return _key(f"registry key {number} of {fid}")


@lru_cache(_KEPT)
def gasless_key(fid: int) -> SigningKey:
    """The key that a user adds by a message."""
    return _key(f"gasless key of {fid}")


def own_registry_key(fid: int, public: str, added: int) -> SigningKey | None:
    """The key with this public part, if it is one of the first `added` of the FID; None if it was made elsewhere."""
    numbers = range(added, 0, -1)
    return next((key for number in numbers if (key := registry_key(fid, number)).public == public), None)


def _key(words: str) -> SigningKey:
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(words.encode()).digest())
    return SigningKey(private, "0x" + private.public_key().public_bytes_raw().hex())
