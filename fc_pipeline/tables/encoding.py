"""Text forms of the wire → values of columns (hub-api 4.2); anything else raises ValueError."""

import binascii
from collections.abc import Mapping

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX

__all__ = ["UnknownValue", "base64_bytes", "farcaster_micros", "hex_bytes", "named", "unix_micros"]

_MICROS = 1_000_000
_LAST_UNIX_SECOND = 253_402_300_799  # 9999-12-31: beyond it neither Python nor the UI can show a date


class UnknownValue(ValueError):
    """An enum value or type that this release does not know."""


def hex_bytes(text: str) -> bytes:
    """`0x…` → bytes; `"0x"` and `""` (Hubble's empty) → `b""`. Raises ValueError for anything but hex."""
    if text[:2] == "0x":
        return bytes.fromhex(text[2:])
    if not text:
        return b""
    raise ValueError(f"{text[:80]!r} is not 0x-hex")


def base64_bytes(text: str) -> bytes:
    """Standard padded base64 → bytes. Raises ValueError (binascii.Error) for anything else."""
    return binascii.a2b_base64(text, strict_mode=True) if text else b""


def farcaster_micros(seconds: int) -> int:
    """Farcaster seconds → unix microseconds."""
    return (seconds + FARCASTER_EPOCH_UNIX) * _MICROS


def unix_micros(seconds: int) -> int:
    """Unix seconds → unix microseconds. Raises ValueError beyond the year 9999."""
    if seconds > _LAST_UNIX_SECOND:
        raise ValueError(f"time {seconds} lies beyond the year 9999")
    return seconds * _MICROS


def named(names: Mapping[str, str], value: str, what: str) -> str:
    """The column's word for a wire enum value. Raises UnknownValue with `what` it is for one not listed."""
    name = names.get(value)
    if name is None:
        raise UnknownValue(f"unknown {what} {value[:80]!r}")
    return name
