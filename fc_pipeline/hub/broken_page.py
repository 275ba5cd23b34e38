"""Pages that are no valid JSON because of some records in them: split anyway, so that only these records fail.

The split relies on how a hub writes a page: the records' array stands at its top, each event begins with its type, and
the array and the page are closed at the end of the body.
"""

import re
from typing import Final

import msgspec

__all__ = ["DECODE_ERRORS", "MalformedPage", "only_record", "split_broken_page", "split_list"]

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a record that is not what the wire types say can raise."""


class MalformedPage(ValueError):
    """The body is not the page that was asked for: not JSON, or JSON without the list that it should hold."""


_OPENING: Final = re.compile(rb'"events"\s*:\s*\[\s*')
_CLOSING: Final = re.compile(rb'\s*\](?:\s*,\s*"nextPageEventId"\s*:\s*\d+)?\s*\}\s*\Z')
_CLOSING_BYTES: Final = 200
# In a valid record this can be nowhere: a quote within a text is escaped, and events are in no event.
_BEGINNING: Final = b'"HUB_EVENT_TYPE_'
_BEFORE_IT: Final = re.compile(rb',\s*\{\s*"type"\s*:\s*\Z')
_BEFORE_IT_BYTES: Final = 40
_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],"]', re.DOTALL)
_CLOSES: Final = {b"{": b"}", b"[": b"]"}
_RAWS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_GROUP_SIZE: Final = 16
"""How many records are decoded together: most of a page is valid."""


def split_broken_page(body: bytes, error: Exception) -> list[bytes]:
    """The records of an events page that failed to decode with `error`.

    Raises MalformedPage, from `error`, if there is no such list or its last record is not closed: then the answer may
    have been cut short, and what fails is the page, not a record in it.
    """
    opening = _OPENING.search(body)
    end = max(0, len(body) - _CLOSING_BYTES)
    closing = _CLOSING.search(body, end if opening is None else max(end, opening.end()))
    if opening is None or closing is None:
        raise MalformedPage(str(error)) from error
    records: list[bytes] = []
    is_closed = True
    commas = _commas_between(body, opening.end(), closing.start())
    starts = [opening.end(), *(comma + 1 for comma in commas)]
    ends = [*commas, closing.start()]
    for first in range(0, len(starts), _GROUP_SIZE):
        last = min(first + _GROUP_SIZE, len(starts)) - 1
        several = _if_json(body[starts[first] : ends[last]])
        if several is not None:
            records += several
            is_closed = True
            continue
        for start, end in zip(starts[first : last + 1], ends[first : last + 1], strict=True):
            several, is_closed = _records_of(body[start:end])
            records += several
    if not is_closed:
        raise MalformedPage(str(error)) from error
    return records


def only_record(body: bytes) -> bytes:
    """What stands between the brackets of a page of one event, which is no JSON; empty if there is no such place."""
    opening = _OPENING.search(body)
    closing = _CLOSING.search(body, opening.end()) if opening else None
    return body[opening.end() : closing.start()].strip() if opening and closing else b""


def _commas_between(body: bytes, start: int, end: int) -> list[int]:
    """The places of the commas before which one record ends and after which another begins."""
    commas: list[int] = []
    at = body.find(_BEGINNING, start, end)
    while at >= 0:
        if body.startswith(b',{"type":', at - 9):  # as Snapchain writes it
            commas.append(at - 9)
        elif before := _BEFORE_IT.search(body, max(start, at - _BEFORE_IT_BYTES), at):
            commas.append(before.start())
        at = body.find(_BEGINNING, at + 1, end)
    return commas


def _if_json(pieces: bytes) -> list[bytes] | None:
    """The values of a list without its brackets; None if this is not valid JSON."""
    try:
        return [bytes(raw) for raw in _RAWS.decode(b"[" + pieces + b"]")]
    except DECODE_ERRORS:
        return None


def _records_of(piece: bytes) -> tuple[list[bytes], bool]:
    """What commas outside of all brackets separate, and whether the last of it is closed.

    Something that closes more than it opened, or less, is one record with all that follows it.
    """
    valid = _if_json(piece)
    if valid is not None:
        return valid, True
    records: list[bytes] = []
    awaited: list[bytes] = []  # what closes the brackets that are open
    start = 0
    is_closed = True
    for token in _TOKENS.finditer(piece):
        mark = token[0]
        if mark in _CLOSES:
            awaited.append(_CLOSES[mark])
        elif mark == b"," and not awaited:
            records.append(piece[start : token.start()].strip())
            start = token.end()
        elif mark == b'"' or (mark in (b"}", b"]") and (not awaited or awaited.pop() != mark)):
            is_closed = False  # a text without an end, or a bracket that closes nothing
            break
    last = piece[start:].strip()
    return [record for record in (*records, last) if record], is_closed and not awaited


def split_list(body: bytes, name: str, error: Exception) -> tuple[list[bytes], bytes]:
    """The items of the array `name` of a body that failed to decode with `error`, and the rest behind the array.

    Counts brackets outside strings. Raises MalformedPage, from `error`, if there is no such array or it does not
    close.
    """
    opening = re.search(rb'"' + re.escape(name.encode()) + rb'"\s*:\s*\[', body)
    if opening is None:
        raise MalformedPage(str(error)) from error
    items: list[bytes] = []
    depth = 0
    start = opening.end()
    for token in _TOKENS.finditer(body, start):
        mark = token[0]
        is_end = depth == 0 and mark in (b"}", b"]")
        if is_end or (depth == 0 and mark == b","):
            items.append(body[start : token.start()].strip())
            start = token.end()
            if is_end:
                return [item for item in items if item], body[start:]
        elif mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
    raise MalformedPage(str(error)) from error
