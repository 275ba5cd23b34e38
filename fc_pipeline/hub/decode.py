"""Pages of JSON → events, one by one, so that a bad record fails alone and keeps its raw bytes.

The whole page is only split (`msgspec.Raw`), then each event is decoded into its struct: measured faster than decoding
the page as one typed value, and the raw bytes of every event are at hand for the raw log and for quarantine.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, pairwise
from operator import attrgetter, lt
from typing import Literal

import msgspec

from fc_pipeline.hub.broken_page import DECODE_ERRORS, split_broken_page
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, HubEvent, first_event_id, height_of

__all__ = [
    "DecodedEvents",
    "EventBatch",
    "Undecodable",
    "batch_from_raws",
    "block_times_of",
    "decode_events",
    "decode_in_order",
    "split_page",
]


class _Page(msgspec.Struct, gc=False):
    events: list[msgspec.Raw]


class _EventHead(msgspec.Struct, gc=False):
    id: int


_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(HubEvent)
_HEAD = msgspec.json.Decoder(_EventHead)


@dataclass(frozen=True, slots=True)
class Undecodable:
    """An event that is not what the wire types say: its id where one can be trusted, why, and its raw bytes.

    `raw` is empty for an event that the hub could not send at all and that was stepped over (hub-api T3); such an event
    is in no `raws`. `near_id` is its own id or else its predecessor's, so it identifies the block. The `reason` is
    `misplaced` for one that decodes, but says of itself that it stands elsewhere: what it would decide is unknown.
    """

    event_id: int | None
    detail: str
    raw: bytes
    near_id: int = 0
    reason: Literal["undecodable", "misplaced"] = "undecodable"


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


@dataclass(slots=True)
class DecodedEvents:
    """Events in ascending order of id: the parts of an EventBatch before blocks are cut out of them."""

    raws: list[bytes] = field(default_factory=list[bytes])
    event_ids: list[int] = field(default_factory=list[int])
    events: list[HubEvent] = field(default_factory=list[HubEvent])
    undecodable: list[Undecodable] = field(default_factory=list[Undecodable])

    def extend(self, later: "DecodedEvents") -> None:
        """Append events whose ids are all above the ones here."""
        self.raws += later.raws
        self.event_ids += later.event_ids
        self.events += later.events
        self.undecodable += later.undecodable

    def cut(self, event_id: int) -> tuple["DecodedEvents", "DecodedEvents"]:
        """Those below `event_id`, and those from it on."""
        at = bisect_left(self.event_ids, event_id)
        events_at = bisect_left(self.events, event_id, key=attrgetter("id"))
        undecodable_at = bisect_left(self.undecodable, event_id, key=attrgetter("near_id"))
        below = DecodedEvents(
            self.raws[:at], self.event_ids[:at], self.events[:events_at], self.undecodable[:undecodable_at]
        )
        above = DecodedEvents(
            self.raws[at:], self.event_ids[at:], self.events[events_at:], self.undecodable[undecodable_at:]
        )
        return below, above

    def heights(self) -> list[int]:
        """The heights that an event with an id of its own vouches for, ascending."""
        found = {event_id >> 14 for event_id in self.event_ids} if not self.undecodable else self._vouched_heights()
        return sorted(found)

    def _vouched_heights(self) -> set[int]:
        own = {event.height for event in self.events}
        own.update(height_of(bad.event_id) for bad in self.undecodable if bad.event_id is not None)
        return own

    @property
    def last_id(self) -> int | None:
        """The highest id that an event has itself, decodable or not; None without events."""
        ids = [bad.event_id for bad in self.undecodable if bad.event_id is not None]
        if self.events:
            ids.append(self.events[-1].id)
        return max(ids, default=None)

    def nameless_end(self) -> list[bytes]:
        """The events behind the last one that has an id."""
        count = 0
        for bad in reversed(self.undecodable):
            if bad.event_id is not None or bad.near_id != self.event_ids[-1]:
                break
            count += 1
        return self.raws[len(self.raws) - count :]

    def without_beginning(self, repeated: Sequence[bytes]) -> "DecodedEvents":
        """The same without these events without an id, if it begins with them."""
        count = len(repeated)
        if not count or self.raws[:count] != list(repeated):
            return self
        return DecodedEvents(self.raws[count:], self.event_ids[count:], self.events, self.undecodable[count:])


def batch_from_raws(
    shard: int,
    from_height: int,
    to_height: int,
    raws: Sequence[bytes],
    block_times: Mapping[int, int] | None = None,
) -> EventBatch:
    """The EventBatch of complete blocks `from_height`…`to_height` from their stored raw events, in the hub's order.

    `block_times` (height → unix seconds) holds the times known beside BLOCK_CONFIRMED; those of BLOCK_CONFIRMED win.
    """
    start = first_event_id(from_height)
    end = first_event_id(to_height + 1)
    decoded = decode_in_order(raws, floor=start, ceiling=end, previous_id=start, shard=shard)
    times = dict(block_times or {})
    times.update(block_times_of(decoded.events))
    return EventBatch(
        shard,
        from_height,
        to_height,
        decoded.raws,
        decoded.event_ids,
        decoded.events,
        decoded.undecodable,
        times,
    )


def block_times_of(events: Iterable[HubEvent]) -> dict[int, int]:
    """Height → unix seconds, from the BLOCK_CONFIRMED among these events (Farcaster seconds on the wire).

    Block times never go back: the few that contradict the others are ignored.
    """
    known = [
        (event.id >> 14, event.blockConfirmedBody.timestamp + FARCASTER_EPOCH_UNIX)
        for event in events
        if event.blockConfirmedBody is not None
    ]
    if any(later[1] < earlier[1] for earlier, later in pairwise(known)):
        consistent = _longest_ascending([unix << 32 | place for place, (_, unix) in enumerate(known)])
        known = [one for place, one in enumerate(known) if place in consistent]
    return dict(known)


def split_page(body: bytes) -> list[bytes]:
    """The raw JSON of each event of an events page, in order.

    A page that is not valid JSON only because of some records in it (NaN, a lone surrogate, a bracket too many) is
    still split between records. Raises MalformedPage if there is no `events` list.
    """
    try:
        return [bytes(raw) for raw in _PAGE.decode(body).events]
    except DECODE_ERRORS as error:
        return split_broken_page(body, error)


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
        except DECODE_ERRORS as error:
            own_id = _read_id(raw)
            previous_id = own_id if own_id is not None else previous_id
            undecodable.append(Undecodable(own_id, f"{type(error).__name__}: {error}", raw, previous_id))
        else:
            events.append(event)
            previous_id = event.id
        ids.append(previous_id)
    return ids, events, undecodable


def decode_in_order(
    raws: Sequence[bytes],
    *,
    floor: int = 0,
    ceiling: int = 2**63,
    previous_id: int = 0,
    shard: int | None = None,
) -> DecodedEvents:
    """Decode events; one that is out of place is set aside as Undecodable, and is none to read on from.

    Out of place is an id that does not ascend (hub-api 3.1), lies below `floor` or not below `ceiling`, and, where
    `shard` is given, an event that says it is of another shard, or of block 0 (hub-api 3.5, 4.1). The very same event a
    second time is left out: it is a duplicate; records without an id cannot be told apart, and stay.
    """
    ids, events, undecodable = decode_events(raws, previous_id=previous_id)
    is_ordered = not ids or (ids[0] >= floor and ids[-1] < ceiling and all(map(lt, ids, islice(ids, 1, None))))
    if is_ordered and (shard is None or not any(map(partial(_is_elsewhere, shard=shard), events))):
        return DecodedEvents(list(raws), ids, events, undecodable)
    is_placed = _Placing(floor, ceiling, shard).is_placed
    return _set_aside_disordered(raws, _outcomes(raws, events, undecodable), is_placed, previous_id, shard)


def _is_elsewhere(event: HubEvent, shard: int) -> bool:
    """Whether it says so; Hubble writes 0 for shard and block, or leaves both out (hub-api 8)."""
    return event.shardIndex != 0 and (event.shardIndex != shard or event.blockNumber == 0)


@dataclass(frozen=True, slots=True)
class _Placing:
    """Where events of a page may stand."""

    floor: int
    ceiling: int
    shard: int | None

    def is_placed(self, outcome: HubEvent | Undecodable) -> bool:
        """Whether its id is plausible by itself."""
        if isinstance(outcome, Undecodable):
            return outcome.event_id is not None and self.floor <= outcome.event_id < self.ceiling
        if self.shard is not None and _is_elsewhere(outcome, self.shard):
            return False
        return self.floor <= outcome.id < self.ceiling


def _outcomes(
    raws: Sequence[bytes], events: Sequence[HubEvent], undecodable: Sequence[Undecodable]
) -> list[HubEvent | Undecodable]:
    """What `decode_events` gave, in the order of `raws`."""
    outcomes: list[HubEvent | Undecodable] = []
    good, bad = iter(events), iter(undecodable)
    next_bad = next(bad, None)
    for raw in raws:
        if next_bad is not None and next_bad.raw is raw:
            outcomes.append(next_bad)
            next_bad = next(bad, None)
        else:
            outcomes.append(next(good))
    return outcomes


def _set_aside_disordered(
    raws: Sequence[bytes],
    outcomes: Sequence[HubEvent | Undecodable],
    is_placed: Callable[[HubEvent | Undecodable], bool],
    previous_id: int,
    shard: int | None,
) -> DecodedEvents:
    ids = [(one.event_id if isinstance(one, Undecodable) else one.id) if is_placed(one) else None for one in outcomes]
    in_order = _longest_ascending(ids)
    placed = {raws[index] for index in in_order}
    result = DecodedEvents()
    for index, (raw, outcome) in enumerate(zip(raws, outcomes, strict=True)):
        if index not in in_order and raw in placed:
            continue
        own = ids[index] if index in in_order else None
        previous_id = own if own is not None else previous_id
        if isinstance(outcome, Undecodable):
            result.undecodable.append(Undecodable(own, outcome.detail, raw, previous_id))
        elif own is not None:
            result.events.append(outcome)
        else:
            result.undecodable.append(Undecodable(None, _misplaced(outcome, shard), raw, previous_id, "misplaced"))
        result.raws.append(raw)
        result.event_ids.append(previous_id)
    return result


def _misplaced(event: HubEvent, shard: int | None) -> str:
    if shard is not None and _is_elsewhere(event, shard):
        return f"event {event.id} says that it is of shard {event.shardIndex}, block {event.blockNumber}"
    return f"event id {event.id} is out of order"


def _longest_ascending(ids: Sequence[int | None]) -> set[int]:
    """Indexes of a longest strictly ascending run of ids, leaving out the fewest (None is never in it)."""
    tails: list[int] = []
    tail_indexes: list[int] = []
    before: dict[int, int | None] = {}
    for index, event_id in enumerate(ids):
        if event_id is None:
            continue
        at = bisect_left(tails, event_id)
        if at < len(tails) and tails[at] == event_id:
            continue  # of two under one id, the first
        before[index] = tail_indexes[at - 1] if at else None
        tails[at : at + 1] = [event_id]
        tail_indexes[at : at + 1] = [index]
    chosen: set[int] = set()
    at_index = tail_indexes[-1] if tail_indexes else None
    while at_index is not None:
        chosen.add(at_index)
        at_index = before[at_index]
    return chosen


def _read_id(raw: bytes) -> int | None:
    """The event's id if it can be had at all: by the decoder, else by its place in the text."""
    try:
        event_id = _HEAD.decode(raw).id
    except DECODE_ERRORS:
        match = re.search(rb'"id"\s*:\s*(\d{1,19})\s*[,}]', raw)
        event_id = int(match[1]) if match else None
    return event_id if event_id is not None and 0 <= event_id < 2**63 else None
