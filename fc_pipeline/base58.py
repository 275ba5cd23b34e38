"""Base58, in which Solana's addresses and block hashes are written."""

from typing import Final

__all__ = ["base58", "base58_bytes"]

_DIGITS: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}


def base58(raw: bytes) -> str:
    """Bytes as text: leading zero bytes are leading ones."""
    number = int.from_bytes(raw, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _DIGITS[digit] + digits
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + digits


def base58_bytes(text: str) -> bytes:
    """The bytes of a text. Raises ValueError for one that has other characters."""
    number = 0
    for digit in text:
        if digit not in _VALUES:
            raise ValueError(f"{text[:80]!r} is not base58")
        number = number * 58 + _VALUES[digit]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
