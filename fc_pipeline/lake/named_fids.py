"""The FIDs that events of the raw log name, read out of their JSON without decoding it.

An FID is a number of its own in the JSON: the author, whom a reply or a mention is to, a link's target, an entry of a
list. Other numbers there, such as blocks and small counts, are taken for FIDs as well: never one too few.
"""

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["MAX_NAMED_FIDS", "NAMED_BELOW", "Fids", "named_fids", "naming_pattern"]

MAX_NAMED_FIDS: Final = 500
"""Of more than these, searching each event for them costs more than decoding it."""
NAMED_BELOW: Final = 2**24
"""FIDs from here on, of which the network has none yet, are not looked for: most larger numbers are times and ids."""

Fids = npt.NDArray[np.uint32]

_DIGITS: Final = len(str(NAMED_BELOW))
_SLICE_BYTES: Final = 4 * 1024 * 1024
_ZERO: Final = ord("0")


def _bytes_among(members: bytes) -> npt.NDArray[np.bool_]:
    found = np.zeros(256, dtype=np.bool_)
    found[list(members)] = True
    return found


_SPACES: Final = b" \t\n\v\f\r"
_BEFORE: Final = _bytes_among(b":[," + _SPACES)
_AFTER: Final = _bytes_among(b",}]" + _SPACES)


def naming_pattern(fids: Collection[int]) -> str | None:
    """What is in an event's JSON that names one of these FIDs; None if searching would cost too much."""
    if not 0 < len(fids) <= MAX_NAMED_FIDS:
        return None
    return rf"[:\[,]\s*(?:{'|'.join(map(str, sorted(fids)))})\s*[,}}\]]"


def named_fids(events: "pa.ChunkedArray[Any]") -> Fids:
    """The FIDs below NAMED_BELOW that binary events may name, ascending: all that they do, and some others."""
    found = [np.empty(0, dtype=np.uint32)]
    for chunk in events.chunks:
        _, begins, values = chunk.buffers()
        offsets = _bytes_of(begins).view(np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        content = _bytes_of(values)
        at = 0
        while at < len(chunk):  # whole events at a time: a number ends with its event
            end = max(at + 1, int(np.searchsorted(offsets, offsets[at] + _SLICE_BYTES, side="right")) - 1)
            found.append(np.unique(_numbers(content[offsets[at] : offsets[end]])))
            at = end
    return np.unique(np.concatenate(found))


def _bytes_of(buffer: pa.Buffer | None) -> npt.NDArray[np.uint8]:
    return np.frombuffer(memoryview(b"" if buffer is None else buffer), dtype=np.uint8)


def _numbers(content: npt.NDArray[np.uint8]) -> Fids:
    """Numbers of at most as many digits that stand between what separates values in JSON."""
    padded = np.concatenate([np.zeros(1, np.uint8), content, np.zeros(_DIGITS, np.uint8)])
    is_digit = (padded - np.uint8(_ZERO)) < 10
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    is_value = (ends - starts <= _DIGITS) & _BEFORE[padded[starts - 1]] & _AFTER[padded[ends]]
    starts, lengths = starts[is_value], (ends - starts)[is_value]
    values = np.zeros(len(starts), dtype=np.uint32)
    for place in range(_DIGITS):
        digits = padded[starts + place].astype(np.uint32) - np.uint32(_ZERO)
        values = np.where(lengths > place, values * 10 + digits, values)
    return values[values < NAMED_BELOW]
