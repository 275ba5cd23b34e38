"""Ed25519 as the network verifies it: strictly, so that one key and one text have one signature (node-db 5.3)."""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["PUBLIC_KEY_BYTES", "is_signed"]

PUBLIC_KEY_BYTES: Final = 32
_KNOWN_KEYS: Final = 1 << 14

_P: Final = 2**255 - 19
_SIGN_BIT: Final = 2**255
_Y_OF_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8})
"""y of the points whose order divides 8: of order 4, 1 and 2, and the two of order 8."""


def is_signed(text: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the key signed the text.

    Besides what every implementation refuses, strict verification refuses a key and a signature's point of small
    order, with which a signature would hold for several texts or keys.
    """
    key = _key(public_key)
    if key is None or _is_of_small_order(signature[:PUBLIC_KEY_BYTES]):
        return False
    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


@lru_cache(_KNOWN_KEYS)
def _key(public_key: bytes) -> Ed25519PublicKey | None:
    """None for bytes that are no key, or one of small order."""
    if len(public_key) != PUBLIC_KEY_BYTES or _is_of_small_order(public_key):
        return None
    return Ed25519PublicKey.from_public_bytes(public_key)


def _is_of_small_order(point: bytes) -> bool:
    return int.from_bytes(point, "little") % _SIGN_BIT % _P in _SMALL_ORDER_Y
