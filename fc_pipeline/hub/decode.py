"""Pages of JSON → events, one by one, so that a bad record fails alone and keeps its raw bytes.

The whole page is only split (`msgspec.Raw`), then each event is decoded into its struct: measured faster than decoding
the page as one typed value, and the raw bytes of every event are at hand for the raw log and for quarantine.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import lt

import msgspec

from fc_pipeline.hub.broken_page import DECODE_ERRORS, split_broken_page
from fc_pipeline.hub.event_batch import DecodedEvents, EventBatch, Undecodable, block_times_of, longest_ascending
from fc_pipeline.hub.wire import HubEvent, first_event_id

__all__ = ["batch_from_raws", "decode_events", "decode_in_order", "split_page"]


class _Page(msgspec.Struct, gc=False):
    events: list[msgspec.Raw]


class _EventHead(msgspec.Struct, gc=False):
    id: int


_PAGE = msgspec.json.Decoder(_Page)
_EVENT = msgspec.json.Decoder(HubEvent)
_HEAD = msgspec.json.Decoder(_EventHead)


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
    return EventBatch.of(shard, from_height, to_height, decoded, times)


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
    """Decode events; one that is out of place becomes an Undecodable, and is none to read on from.

    Out of place is an id that does not ascend (hub-api 3.1), lies below `floor` or not below `ceiling`, and, where
    `shard` is given, an event that says it is of another shard, or of block 0 (hub-api 3.5, 4.1). The very same event a
    second time is left out: it is a duplicate; records without an id cannot be told apart, and stay.
    """
    ids, events, undecodable = decode_events(raws, previous_id=previous_id)
    is_ordered = not ids or (ids[0] >= floor and ids[-1] < ceiling and all(map(lt, ids, islice(ids, 1, None))))
    if is_ordered and (shard is None or not any(map(partial(_is_elsewhere, shard=shard), events))):
        return DecodedEvents(list(raws), ids, events, undecodable)
    is_placed = _Placing(floor, ceiling, shard).is_placed
    return _in_order(raws, _outcomes(raws, events, undecodable), is_placed, previous_id, shard)


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


def _in_order(
    raws: Sequence[bytes],
    outcomes: Sequence[HubEvent | Undecodable],
    is_placed: Callable[[HubEvent | Undecodable], bool],
    previous_id: int,
    shard: int | None,
) -> DecodedEvents:
    ids = [(one.event_id if isinstance(one, Undecodable) else one.id) if is_placed(one) else None for one in outcomes]
    in_order = longest_ascending(ids)
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


def _read_id(raw: bytes) -> int | None:
    """The event's id if it can be had at all: by the decoder, else by its place in the text."""
    try:
        event_id = _HEAD.decode(raw).id
    except DECODE_ERRORS:
        match = re.search(rb'"id"\s*:\s*(\d{1,19})\s*[,}]', raw)
        event_id = int(match[1]) if match else None
    return event_id if event_id is not None and 0 <= event_id < 2**63 else None
