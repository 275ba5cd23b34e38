"""Pages of JSON → events, one by one, so that a bad record fails alone and keeps its raw bytes.

The whole page is only split (`msgspec.Raw`), then each event is decoded into its struct: measured faster than decoding
the page as one typed value, and the raw bytes of every event are at hand for the raw log and for quarantine.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from fc_pipeline.hub.wire import HubEvent, height_of

__all__ = ["EventBatch", "MalformedPage", "Undecodable", "decode_events", "split_page"]


class MalformedPage(ValueError):
    """The body is not an events page at all: not JSON, or JSON without an `events` list."""


class _Page(msgspec.Struct, gc=False):
    events: list[msgspec.Raw]


class _EventHead(msgspec.Struct, gc=False):
    id: int


_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(HubEvent)
_HEAD = msgspec.json.Decoder(_EventHead)
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Undecodable:
    """An event that is not what the wire types say: its id where one could be read, why, and its raw bytes."""

    event_id: int | None
    detail: str
    raw: bytes


@dataclass(slots=True)
class EventBatch:
    """Complete blocks `from_height`…`to_height` of one shard, as the hub sent them.

    `raws` holds every event's JSON in the hub's order, `event_ids` its id (for an event whose id cannot be read, that
    of its predecessor), `events` the decoded ones (fewer than `raws` where some are `undecodable`). `block_times` maps
    a height to unix seconds, for every height whose BLOCK_CONFIRMED is in the batch or whose time was estimated.
    """

    shard: int
    from_height: int
    to_height: int
    raws: list[bytes] = field(default_factory=list[bytes])
    event_ids: list[int] = field(default_factory=list[int])
    events: list[HubEvent] = field(default_factory=list[HubEvent])
    undecodable: list[Undecodable] = field(default_factory=list[Undecodable])
    block_times: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def size_bytes(self) -> int:
        """Bytes of JSON in the batch."""
        return sum(map(len, self.raws))


def split_page(body: bytes) -> list[bytes]:
    """The raw JSON of each event of an events page, in order.

    A page that is not valid JSON only because of some records in it (NaN, a lone surrogate, endless nesting) is still
    split between records. Raises MalformedPage if there is no `events` list.
    """
    try:
        return [bytes(raw) for raw in _PAGE.decode(body).events]
    except _DECODE_ERRORS as error:
        raws = list(_split_loosely(body))
        if not raws:
            raise MalformedPage(str(error)) from error
        return raws


_EVENTS_KEY = re.compile(rb'"events"\s*:\s*\[')
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def _split_loosely(body: bytes) -> Iterator[bytes]:
    """Split the `events` array by counting brackets outside strings; yields nothing if the array does not close."""
    opening = _EVENTS_KEY.search(body)
    if opening is None:
        return
    raws: list[bytes] = []
    depth = 0
    start = 0
    for token in _TOKENS.finditer(body, opening.end()):
        mark = body[token.start()]
        if mark in b"{[":
            if depth == 0:
                start = token.start()
            depth += 1
        elif mark in b"}]":
            if depth == 0:
                yield from raws
                return
            depth -= 1
            if depth == 0:
                raws.append(body[start : token.end()])


def decode_events(
    raws: Sequence[bytes], *, previous_id: int = 0
) -> tuple[list[int], list[HubEvent], list[Undecodable]]:
    """Decode events one by one: ids parallel to `raws`, the decoded events, and those that could not be decoded.

    `previous_id` stands in for the id of a leading event whose own cannot be read.
    """
    ids: list[int] = []
    events: list[HubEvent] = []
    undecodable: list[Undecodable] = []
    decode = _EVENT.decode
    for raw in raws:
        try:
            event = decode(raw)
        except _DECODE_ERRORS as error:
            bad = Undecodable(_read_id(raw), f"{type(error).__name__}: {error}", raw)
            undecodable.append(bad)
            previous_id = bad.event_id if bad.event_id is not None else previous_id
        else:
            events.append(event)
            previous_id = event.id
        ids.append(previous_id)
    return ids, events, undecodable


def _read_id(raw: bytes) -> int | None:
    """The event's id if it can be had at all: by the decoder, else by its place in the text."""
    try:
        event_id = _HEAD.decode(raw).id
    except _DECODE_ERRORS:
        match = re.search(rb'"id"\s*:\s*(\d{1,19})\s*[,}]', raw)
        event_id = int(match[1]) if match else None
    return event_id if event_id is not None and 0 <= event_id < 2**63 else None


def heights_in(event_ids: Sequence[int]) -> range:
    """The heights from the first to the last of these ids; empty for no ids."""
    return range(height_of(event_ids[0]), height_of(event_ids[-1]) + 1) if event_ids else range(0)
