"""Lists of wire values → Arrow columns, many rows at a time.

What cannot become a value is noted in `Rejects` with its row and reason, and stands as null in the column. Texts of one
length, which hashes, keys and signatures are, are decoded all at once; other lists go value by value through the same
rules (`encoding`).
"""

import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.tables.columns import ArrowArray
from fc_pipeline.tables.encoding import (
    HASH_BYTES,
    MAX_KEY_BYTES,
    base64_bytes,
    hash_bytes,
    hex_bytes,
    json_text,
    key_text,
    unknown,
)

__all__ = [
    "Rejects",
    "base64_column",
    "binary_column",
    "by_value",
    "fixed_rows",
    "hash_column",
    "hex_column",
    "json_column",
    "key_text_column",
    "named_column",
    "spread",
    "time_column",
]

T = TypeVar("T")
V = TypeVar("V")
Bytes2D = npt.NDArray[np.uint8]

_MICROS = 1_000_000
_SIGNATURE_BYTES = 64
_SIGNATURE_CHARACTERS = 88
_TIMESTAMP = pa.timestamp("us", tz="UTC")


class Rejects:
    """Rows that cannot be written, each with the first reason found; `rows` gives a part's places in the whole."""

    def __init__(self, reasons: dict[int, ValueError] | None = None, rows: Sequence[int] | None = None) -> None:
        self.reasons: dict[int, ValueError] = {} if reasons is None else reasons
        self._rows = rows

    def add(self, place: int, reason: ValueError) -> None:
        """Note that the row at `place` cannot be written."""
        self.reasons.setdefault(place if self._rows is None else self._rows[place], reason)

    def part(self, rows: Sequence[int]) -> "Rejects":
        """The same for a list that holds only these rows."""
        return Rejects(self.reasons, rows)


def by_value(values: Sequence[T | None], convert: Callable[[T], V], kind: pa.DataType, rejects: Rejects) -> ArrowArray:
    """Each value converted for itself; None stays null. A ValueError of `convert` rejects the row."""
    found: list[V | None] = []
    for place, value in enumerate(values):
        try:
            found.append(None if value is None else convert(value))
        except ValueError as reason:
            found.append(None)
            rejects.add(place, reason)
    return pa.array(found, type=kind)


def hex_column(texts: Sequence[str], rejects: Rejects) -> ArrowArray:
    """`0x…` texts → bytes."""
    decoded = _hex_rows(texts)
    return by_value(texts, hex_bytes, pa.binary(), rejects) if decoded is None else binary_column(decoded)


def hash_column(texts: Sequence[str], rejects: Rejects) -> ArrowArray:
    """`0x…` texts of message hashes → their 20 bytes; another length is rejected."""
    decoded = _hex_rows(texts)
    if decoded is None or decoded.shape[1] != HASH_BYTES:
        return by_value(texts, hash_bytes, pa.binary(), rejects)
    return binary_column(decoded)


def base64_column(texts: Sequence[str], rejects: Rejects) -> ArrowArray:
    """Padded base64 texts → bytes."""
    decoded = _signature_rows(texts)
    return by_value(texts, base64_bytes, pa.binary(), rejects) if decoded is None else binary_column(decoded)


def time_column(farcaster_seconds: Sequence[int]) -> ArrowArray:
    """Farcaster seconds → timestamps."""
    micros = (np.array(farcaster_seconds, np.int64) + FARCASTER_EPOCH_UNIX) * _MICROS
    return pa.array(micros, type=pa.int64()).cast(_TIMESTAMP)


def named_column(names: Mapping[str, str], values: Sequence[str], what: str, rejects: Rejects) -> ArrowArray:
    """Wire enum values → the columns' words; one that is not listed is rejected as an UnknownValue."""
    found = [names.get(value) for value in values]
    if None in found:
        for place, name in enumerate(found):
            if name is None:
                rejects.add(place, unknown(what, values[place]))
    return pa.array(found, type=pa.string())


def key_text_column(texts: Sequence[str | None], what: str, rejects: Rejects) -> ArrowArray:
    """Texts that go into an index; one that is too long for it is rejected."""
    # No character takes more than four bytes.
    if all(text is None or len(text) * 4 <= MAX_KEY_BYTES for text in texts):
        return pa.array(texts, type=pa.string())
    return by_value(texts, lambda text: key_text(text, what), pa.string(), rejects)


def json_column(raws: Sequence[msgspec.Raw], rejects: Rejects) -> ArrowArray:
    """Raw JSON → the texts of a jsonb column."""
    return by_value(raws, json_text, pa.string(), rejects)


def spread(
    values: Sequence[T | None], column: Callable[[list[T], Rejects], ArrowArray], rejects: Rejects
) -> ArrowArray:
    """A column made of the values that are there, with null where there is none."""
    rows = [row for row, value in enumerate(values) if value is not None]
    present = [value for value in values if value is not None]
    made = column(present, rejects.part(rows))
    if len(rows) == len(values):
        return made
    places = np.full(len(values), -1, np.int64)
    places[rows] = np.arange(len(rows))
    return made.take(pa.array(places, type=pa.int64(), mask=places < 0))


def _characters(texts: Sequence[str]) -> Bytes2D | None:
    """The UTF-8 of texts that are all of one length, a row each; None if they are not."""
    if not texts:
        return None
    _, offset_buffer, content = pa.array(texts, type=pa.string()).buffers()
    offsets = np.frombuffer(memoryview(offset_buffer or b""), np.int32)[: len(texts) + 1]
    width = int(offsets[1])
    if width == 0 or (np.diff(offsets) != width).any():
        return None
    return np.frombuffer(memoryview(content or b""), np.uint8)[: len(texts) * width].reshape(len(texts), width)


def _hex_rows(texts: Sequence[str]) -> Bytes2D | None:
    """All texts decoded as one; None if they are not of one length, or not all hex."""
    rows = _characters(texts)
    if rows is None or rows.shape[1] < 4 or rows.shape[1] % 2:
        return None
    if (rows[:, 0] != ord("0")).any() or (rows[:, 1] != ord("x")).any():
        return None
    try:
        decoded = binascii.unhexlify(rows[:, 2:].tobytes())
    except binascii.Error:
        return None
    return np.frombuffer(decoded, np.uint8).reshape(len(texts), -1)


def _signature_rows(texts: Sequence[str]) -> Bytes2D | None:
    """Texts of 64 bytes each decoded as one; None if they are not all that.

    The padding of each, which would end the decoding, is read as zeros that are cut off again.
    """
    rows = _characters(texts)
    if rows is None or rows.shape[1] != _SIGNATURE_CHARACTERS or (rows[:, -2:] != ord("=")).any():
        return None
    unpadded = rows.copy()
    unpadded[:, -2:] = ord("A")
    try:
        decoded = binascii.a2b_base64(unpadded.data, strict_mode=True)
    except binascii.Error:
        return None
    return np.frombuffer(decoded, np.uint8).reshape(len(texts), -1)[:, :_SIGNATURE_BYTES]


def binary_column(rows: Bytes2D) -> ArrowArray:
    """Rows of bytes of one width → a binary array, without touching them one by one."""
    count, width = rows.shape
    offsets = pa.py_buffer(np.arange(0, (count + 1) * width, width, dtype=np.int32).data)
    content = pa.py_buffer(np.ascontiguousarray(rows).data)
    return pa.Array.from_buffers(pa.binary(), count, [None, offsets, content])


def fixed_rows(column: ArrowArray, width: int) -> Bytes2D:
    """A binary column without nulls, of values that are all `width` bytes → its bytes, a row each."""
    content = memoryview(column.buffers()[2] or b"")
    start = column.offset * width
    return np.frombuffer(content, np.uint8)[start : start + len(column) * width].reshape(len(column), width)
