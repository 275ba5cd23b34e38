"""Events of a shard in order, as they pass from the decoder to the fold, and where they are cut."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import Literal

from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, HubEvent, first_event_id, height_of

__all__ = ["DecodedEvents", "EventBatch", "Undecodable", "block_times_of", "ends_as_announced", "longest_ascending"]


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
class DecodedEvents:
    """Events in ascending order of id: what blocks are cut from."""

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

    def confirmed_heights(self) -> set[int]:
        """Heights whose BLOCK_CONFIRMED is there, be it undecodable: in a feed that has them, sequence 0 is theirs."""
        confirmed = {event.height for event in self.events if event.blockConfirmedBody is not None}
        for bad in self.undecodable:
            if bad.event_id is not None and bad.event_id == first_event_id(height_of(bad.event_id)):
                confirmed.add(height_of(bad.event_id))
        return confirmed


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

    @classmethod
    def of(
        cls, shard: int, from_height: int, to_height: int, found: DecodedEvents, block_times: dict[int, int]
    ) -> "EventBatch":
        """The batch of these blocks and no other event."""
        lists = (found.raws, found.event_ids, found.events, found.undecodable)
        return cls(shard, from_height, to_height, *lists, block_times)

    def cut(self, height: int) -> tuple["EventBatch", "EventBatch"]:
        """The blocks below `height`, and those from it on."""
        found = DecodedEvents(self.raws, self.event_ids, self.events, self.undecodable)
        below, above = found.cut(first_event_id(height))
        times_below = {at: unix for at, unix in self.block_times.items() if at < height}
        times_above = {at: unix for at, unix in self.block_times.items() if at >= height}
        return (
            EventBatch.of(self.shard, self.from_height, height - 1, below, times_below),
            EventBatch.of(self.shard, height, self.to_height, above, times_above),
        )

    def within(self, first: int, last: int) -> "EventBatch":
        """The blocks `first`…`last`, which it holds."""
        above = self.cut(first)[1] if first > self.from_height else self
        return above.cut(last + 1)[0] if last < self.to_height else above

    def parts_within(self, ranges: Sequence[HeightRange]) -> list["EventBatch"]:
        """The parts that lie in one of these ranges."""
        overlaps = [(max(r.first, self.from_height), min(r.last, self.to_height)) for r in ranges]
        return [self.within(first, last) for first, last in overlaps if first <= last]

    def by_hour(self) -> Iterator[tuple[Hour, "EventBatch"]]:
        """Cut where the hour changes. Block times never go back, so each hour is one stretch."""
        times = self.block_times
        heights = sorted(times)
        rest = self
        for earlier, later in pairwise(heights):
            hour = Hour.of(times[earlier])
            if not hour.contains(times[later]):
                before, rest = rest.cut(later)
                yield hour, before
        yield Hour.of(times[heights[-1]]), rest


def ends_as_announced(events: Iterable[HubEvent], event_ids: Sequence[int]) -> bool:
    """Whether the last block of `event_ids`, of which `events` could be decoded, has as many as it announces.

    As many as BLOCK_CONFIRMED says prove the block whole, fewer prove nothing (hub-api 12). One without an id of its
    own, which stands under that of the event before, counts as any other.
    """
    last = height_of(event_ids[-1]) if event_ids else 0
    announced = [e.blockConfirmedBody.totalEvents for e in events if e.blockConfirmedBody and e.height == last]
    return bool(announced) and 0 < announced[0] <= sum(height_of(event_id) == last for event_id in event_ids)


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
        consistent = longest_ascending([unix << 32 | place for place, (_, unix) in enumerate(known)])
        known = [one for place, one in enumerate(known) if place in consistent]
    return dict(known)


def longest_ascending(ids: Sequence[int | None]) -> set[int]:
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
