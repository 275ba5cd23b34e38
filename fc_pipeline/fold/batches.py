"""Cutting batches of blocks: a micro-batch belongs to one hour."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter

from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import EventBatch
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.store.ledger import HeightRange

__all__ = ["parts_within", "split_by_hour", "within"]


def split_by_hour(batch: EventBatch) -> Iterator[tuple[Hour, EventBatch]]:
    """Cut complete blocks where their hour changes. Block times never go back, so each hour is one stretch."""
    times = batch.block_times
    heights = sorted(times)
    rest = batch
    for earlier, later in pairwise(heights):
        hour = Hour.of(times[earlier])
        if not hour.contains(times[later]):
            before, rest = _cut(rest, later)
            yield hour, before
    yield Hour.of(times[heights[-1]]), rest


def _cut(batch: EventBatch, height: int) -> tuple[EventBatch, EventBatch]:
    """The blocks below `height`, and those from it on."""
    boundary = first_event_id(height)
    event = bisect_left(batch.event_ids, boundary)
    decoded = bisect_left(batch.events, boundary, key=attrgetter("id"))
    bad = bisect_left(batch.undecodable, boundary, key=attrgetter("near_id"))
    times = batch.block_times
    below = EventBatch(
        batch.shard,
        batch.from_height,
        height - 1,
        batch.raws[:event],
        batch.event_ids[:event],
        batch.events[:decoded],
        batch.undecodable[:bad],
        {at: unix for at, unix in times.items() if at < height},
    )
    above = EventBatch(
        batch.shard,
        height,
        batch.to_height,
        batch.raws[event:],
        batch.event_ids[event:],
        batch.events[decoded:],
        batch.undecodable[bad:],
        {at: unix for at, unix in times.items() if at >= height},
    )
    return below, above


def within(batch: EventBatch, first: int, last: int) -> EventBatch:
    """The blocks `first`…`last` of a batch that holds them."""
    if first > batch.from_height:
        batch = _cut(batch, first)[1]
    return _cut(batch, last + 1)[0] if last < batch.to_height else batch


def parts_within(batch: EventBatch, ranges: Sequence[HeightRange]) -> list[EventBatch]:
    """The parts of a batch that lie in one of these ranges."""
    overlaps = [(max(r.first, batch.from_height), min(r.last, batch.to_height)) for r in ranges]
    return [within(batch, first, last) for first, last in overlaps if first <= last]
