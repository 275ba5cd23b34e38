"""Text forms of the wire → values of columns (hub-api 4.2); anything else raises ValueError."""

import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, BlockConfirmedBody

__all__ = [
    "HASH_BYTES",
    "MAX_KEY_BYTES",
    "UnknownValue",
    "base64_bytes",
    "block_hash",
    "decoded_json",
    "farcaster_micros",
    "farcaster_seconds",
    "hash_bytes",
    "hex_bytes",
    "json_text",
    "key_bytes",
    "key_text",
    "named",
    "said_as",
    "unix_micros",
    "unknown",
    "whole_hash",
]

HASH_BYTES = 20
_MICROS = 1_000_000
_LAST_UNIX_SECOND = 253_402_300_799  # 9999-12-31: beyond it neither Python nor the UI can show a date
MAX_KEY_BYTES = 1024  # far above every protocol limit (hub-api 5.3), far below the 2,704 bytes of a Postgres index row
_MAX_JSON_DEPTH = 200  # far above anything on the wire, far below where Postgres' or Python's stack ends
_NUMERIC_EXPONENT = 1000  # far above anything on the wire, far below where Postgres' numeric overflows


class UnknownValue(ValueError):
    """An enum value or type that this release does not know."""


def hex_bytes(text: str) -> bytes:
    """`0x…` → bytes; `"0x"` and `""` (Hubble's empty) → `b""`. Raises ValueError for anything but hex."""
    if not text:
        return b""
    if text[:2] != "0x":
        raise ValueError(f"{text[:80]!r} is not 0x-hex")
    try:
        return binascii.unhexlify(text[2:])
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} is not 0x-hex: {error}") from error


def hash_bytes(text: str) -> bytes:
    """The 20 bytes of a message's `0x…` hash. Raises ValueError for another length or no hex."""
    return whole_hash(hex_bytes(text), text)


def whole_hash(value: bytes, text: str) -> bytes:
    """A hash, if it has its 20 bytes; `text` is what stood on the wire. Raises ValueError for another length."""
    if len(value) != HASH_BYTES:
        raise ValueError(f"hash {text[:80]!r} is not {HASH_BYTES} bytes")
    return value


def block_hash(body: BlockConfirmedBody) -> bytes | None:
    """The hash of a confirmed block; None if the hub wrote none that can be read."""
    try:
        return hex_bytes(body.blockHash) or None
    except ValueError:
        return None


def base64_bytes(text: str) -> bytes:
    """Standard padded base64 → bytes; `""` → `b""`. Raises ValueError for anything else."""
    if not text:
        return b""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} is not base64: {error}") from error


def key_text(text: str, what: str) -> str:
    """A text that goes into an index, as it is. Raises ValueError if it is longer than an index can hold."""
    if len(text) > MAX_KEY_BYTES or len(text.encode()) > MAX_KEY_BYTES:
        raise ValueError(f"{what} {text[:80]!r}… is longer than {MAX_KEY_BYTES} bytes")
    return text


def key_bytes(value: bytes, what: str) -> bytes:
    """Bytes that go into an index, as they are. Raises ValueError if they are more than an index can hold."""
    if len(value) > MAX_KEY_BYTES:
        raise ValueError(f"{what} 0x{value[:40].hex()}… is longer than {MAX_KEY_BYTES} bytes")
    return value


def json_text(raw: msgspec.Raw) -> str | None:
    """A raw JSON value → the text of a jsonb column; None for an absent one or `null`.

    Raises ValueError for what jsonb refuses and the decoder lets pass in raw values: bytes that are not UTF-8, numbers
    beyond Postgres' numeric, and values nested more than 200 deep.
    """
    text = str(raw, "utf-8")
    if text in ("", "null"):
        return None
    if text != "[]":
        # Fewer brackets than that need not be looked at one by one.
        if text.count("[") + text.count("{") > _MAX_JSON_DEPTH and _json_depth(text) > _MAX_JSON_DEPTH:
            raise ValueError(f"JSON nested more than {_MAX_JSON_DEPTH} deep")
        _JSON.decode(text)
    return text


def _json_depth(text: str) -> int:
    """How deeply valid JSON is nested."""
    depth = deepest = 0
    for token in _BRACKETS.finditer(text):
        mark = token[0][0]
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def _numeric(text: str) -> float:
    try:
        is_beyond = abs(Decimal(text).adjusted()) > _NUMERIC_EXPONENT
    except InvalidOperation:  # an exponent that even Decimal cannot hold
        is_beyond = True
    if is_beyond:
        raise ValueError(f"number {text[:80]} is beyond Postgres' numeric")
    return 0.0


_JSON = msgspec.json.Decoder(float_hook=_numeric)


def farcaster_micros(seconds: int) -> int:
    """Farcaster seconds → unix microseconds."""
    return (seconds + FARCASTER_EPOCH_UNIX) * _MICROS


def farcaster_seconds(moment: datetime) -> int:
    """A column's time → Farcaster seconds."""
    return int(moment.timestamp()) - FARCASTER_EPOCH_UNIX


def decoded_json(value: Any) -> Any:
    """What a jsonb column holds, as text in Arrow and as objects from Postgres."""
    return msgspec.json.decode(value) if isinstance(value, str) else value


def unix_micros(seconds: int) -> int:
    """Unix seconds → unix microseconds. Raises ValueError beyond the year 9999."""
    if seconds > _LAST_UNIX_SECOND:
        raise ValueError(f"time {seconds} lies beyond the year 9999")
    return seconds * _MICROS


def named(names: Mapping[str, str], value: str, what: str) -> str:
    """The column's word for a wire enum value. Raises UnknownValue with `what` it is for one not listed."""
    name = names.get(value)
    if name is None:
        raise unknown(what, value)
    return name


def said_as(names: Mapping[str, str], word: str) -> str:
    """The wire's enum value for a column's word; of several for one word the last, which hubs of today write.

    Raises ValueError for a word that none has.
    """
    said = [name for name, one in names.items() if one == word]
    if not said:
        raise ValueError(f"no value on the wire is {word[:80]!r} in a table")
    return said[-1]


def unknown(what: str, value: str) -> UnknownValue:
    """The error for a wire value that this release does not know; `what` it is."""
    return UnknownValue(f"unknown {what} {value[:80]!r}")
