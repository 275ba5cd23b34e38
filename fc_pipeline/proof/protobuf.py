"""Protobuf's wire format, read and written by field numbers.

The few messages that are needed are read by their numbers where they are used (node-db 5.2): hashes are over bytes as
they were written, in an order of fields that generated code would not keep.
"""

from collections.abc import Iterator
from typing import Final

__all__ = [
    "Malformed",
    "Value",
    "bytes_field",
    "bytes_in",
    "last_fields",
    "number_field",
    "number_in",
    "read_fields",
    "varint",
]

Value = int | bytes
"""A number, or the bytes of a field with a length: bytes, text, a message, or packed numbers."""

_VARINT: Final = 0
_FIXED64: Final = 1
_WITH_LENGTH: Final = 2
_FIXED32: Final = 5
_MAX_VARINT_BYTES: Final = 10


class Malformed(ValueError):
    """Bytes that are no message of the kind that was expected."""


def read_fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message as they stand. Raises Malformed for what is cut short or is no protobuf."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = _read_varint(message, at)
            yield number, value
            continue
        if wire_type == _WITH_LENGTH:
            size, at = _read_varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise Malformed(f"field {number} has wire type {wire_type}")
        if at + size > end:
            raise Malformed(f"field {number} is cut short: {end - at} of {size} bytes")
        yield number, message[at : at + size]
        at += size


def last_fields(message: bytes) -> dict[int, Value]:
    """The fields of a message in which none is repeated: the last one of each number counts. Raises Malformed."""
    return dict(read_fields(message))


def number_in(fields: dict[int, Value], number: int) -> int:
    """The number of a field, 0 where it was left out. Raises Malformed if it is none."""
    value = fields.get(number, 0)
    if not isinstance(value, int):
        raise Malformed(f"field {number} is no number")
    return value


def bytes_in(fields: dict[int, Value], number: int) -> bytes:
    """The bytes of a field, none where it was left out. Raises Malformed if it is a number."""
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise Malformed(f"field {number} is a number")
    return value


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(message):
            raise Malformed("a number is cut short")
        byte = message[at + index]
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number & (2**64 - 1), at + index + 1
    raise Malformed(f"a number has more than {_MAX_VARINT_BYTES} bytes")


def varint(number: int) -> bytes:
    """A number as protobuf writes it; a negative one as its 64-bit two's complement."""
    if 0 <= number < 128:
        return bytes((number,))
    number &= 2**64 - 1
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def number_field(number: int, value: int) -> bytes:
    """A field that is a number, nothing where it is 0, as proto3 leaves it out."""
    return varint(number << 3) + varint(value) if value else b""


def bytes_field(number: int, value: bytes) -> bytes:
    """A field that has a length, also where it is empty."""
    return varint(number << 3 | _WITH_LENGTH) + varint(len(value)) + value
