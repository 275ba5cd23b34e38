"""Cuts a shard's events into complete blocks and says which heights they prove, without further requests.

Every block opens with BLOCK_CONFIRMED at sequence 0 and heights have no holes (hub-api 3.4), so a jump between heights
is a hole. Only logs without BLOCK_CONFIRMED (older nodes, recorded logs) may leave out heights that had no events.
"""

import logging
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from fc_pipeline.hub.decode import DecodedEvents, EventBatch, block_times_of
from fc_pipeline.hub.wire import HubEvent, first_event_id, height_of

__all__ = ["BlockCutter", "ends_as_announced"]

log = logging.getLogger(__name__)


class BlockCutter:
    """Takes the pages of one reading in order and returns EventBatches of complete blocks.

    A block is complete when an event of a higher one was seen, or at the head: a block's events become visible at once.
    `next_height` is the first height not returned yet, `next_event_id` where the next page should start.
    """

    def __init__(self, shard: int, from_height: int) -> None:
        self.next_height = from_height
        self.next_event_id = first_event_id(from_height)
        self._shard = shard
        self._tail = DecodedEvents()
        self._read_below = False
        self._confirmed_below = False
        self._oldest_height: int | None = None

    @property
    def half_read_id(self) -> int | None:
        """The id of the last event of the incomplete block; None if there is none."""
        return self._tail.event_ids[-1] if self._tail.event_ids else None

    def makes_whole(self, page: DecodedEvents) -> bool:
        """Whether the half-read block has with `page` all the events that its BLOCK_CONFIRMED announces."""
        return ends_as_announced(self._tail.events, [*self._tail.event_ids, *page.event_ids])

    def restart(self) -> None:
        """Drop the half-read block: reading resumes at the block boundary, perhaps from another hub (hub-api 3.3)."""
        self._tail = DecodedEvents()
        self._read_below = False
        self._oldest_height = None
        self.next_event_id = first_event_id(self.next_height)

    def jumps_unproven(self, page: DecodedEvents) -> bool:
        """Whether the reading opens above `next_height` with a block that no BLOCK_CONFIRMED opens.

        Then the heights between have no events, or the hub no longer has them, depending on its oldest height.
        """
        if self._read_below or self._tail.raws:
            return False
        heights = page.heights()
        return bool(heights) and heights[0] != self.next_height and heights[0] not in _confirmed_heights(page)

    def add(
        self, page: DecodedEvents, next_event_id: int, *, at_tip: bool, oldest_height: int | None = None
    ) -> list[EventBatch]:
        """The blocks that `page` completes: one batch per run of heights without a hole, often one, maybe none.

        `oldest_height` is the hub's oldest retained height, asked for where `jumps_unproven`.
        """
        self._oldest_height = oldest_height if oldest_height is not None else self._oldest_height
        self._tail.extend(page)
        self.next_event_id = next_event_id
        last_id = self._tail.last_id
        if last_id is None:
            return []
        boundary = first_event_id(height_of(last_id) + (1 if at_tip else 0))
        if not self._read_below and self._tail.event_ids and self._tail.event_ids[0] < boundary:
            self._drop_beheaded_block()
        complete, self._tail = self._tail.cut(boundary)
        batches = self._batches(complete)
        if batches:
            self.next_height = batches[-1].to_height + 1
            self._read_below = True
        return batches

    def close(self, until_height: int, following: DecodedEvents, oldest_height: int | None) -> EventBatch | None:
        """The batch without events for `next_height`…`until_height`, if `following` proves that they have none.

        `following` is the next event above `until_height`. In a feed with BLOCK_CONFIRMED they are a hole: None.
        """
        self._oldest_height = oldest_height
        heights = following.heights()
        if not heights or self._is_hole(heights[0], _confirmed_heights(following)):
            return None
        batch = EventBatch(self._shard, self.next_height, until_height)
        self.next_height = until_height + 1
        return batch

    def _batches(self, complete: DecodedEvents) -> list[EventBatch]:
        heights = complete.heights()
        if not heights:
            return []
        confirmed = _confirmed_heights(complete)
        starts: list[int] = []
        if heights[0] > self.next_height and self._is_hole(heights[0], confirmed):
            starts.append(heights[0])
        else:
            starts.append(self.next_height)
        if heights[-1] - heights[0] + 1 != len(heights):
            starts += [
                above
                for below, above in pairwise(heights)
                if above > below + 1 and (above in confirmed or below in confirmed)
            ]
        self._confirmed_below = heights[-1] in confirmed
        times = block_times_of(complete.events)
        batches: list[EventBatch] = []
        for index, start in enumerate(starts):
            if index + 1 < len(starts):
                part, complete = complete.cut(first_event_id(starts[index + 1]))
                to_height = heights[bisect_left(heights, starts[index + 1]) - 1]
                part_times = {height: at for height, at in times.items() if start <= height <= to_height}
            else:
                part, to_height = complete, heights[-1]
                part_times = {height: at for height, at in times.items() if height >= start} if index else times
            batches.append(
                EventBatch(
                    self._shard,
                    start,
                    to_height,
                    part.raws,
                    part.event_ids,
                    part.events,
                    part.undecodable,
                    part_times,
                )
            )
        return batches

    def _is_hole(self, height: int, confirmed: set[int]) -> bool:
        """Whether the heights from `next_height` up to `height` are missing, rather than without events."""
        if height in confirmed:
            return True
        if self._read_below:
            return self._confirmed_below
        return self._oldest_height is None or self._oldest_height >= height

    def _drop_beheaded_block(self) -> None:
        """Leave out a first block whose beginning the hub was just deleting (hub-api 3.5): it is not complete.

        Its BLOCK_CONFIRMED is gone though the next block has one, and its sequence starts above 1.
        """
        heights = self._tail.heights()
        confirmed = _confirmed_heights(self._tail)
        if len(heights) < 2 or heights[0] in confirmed or heights[1] not in confirmed:
            return
        if self._tail.event_ids[0] > first_event_id(heights[0]) + 1:
            log.warning("block_incomplete shard=%d height=%d: the hub deletes it right now", self._shard, heights[0])
            _, self._tail = self._tail.cut(first_event_id(heights[1]))


def ends_as_announced(events: Iterable[HubEvent], event_ids: Sequence[int]) -> bool:
    """Whether the last block of `event_ids`, of which `events` could be decoded, has as many as it announces.

    As many as BLOCK_CONFIRMED says prove the block whole, fewer prove nothing (hub-api 12). One without an id of its
    own, which stands under that of the event before, counts as any other.
    """
    last = height_of(event_ids[-1]) if event_ids else 0
    announced = [e.blockConfirmedBody.totalEvents for e in events if e.blockConfirmedBody and e.height == last]
    return bool(announced) and 0 < announced[0] <= sum(height_of(event_id) == last for event_id in event_ids)


def _confirmed_heights(events: DecodedEvents) -> set[int]:
    """Heights whose BLOCK_CONFIRMED is there, be it undecodable: in a feed that has them, sequence 0 is theirs."""
    confirmed = {event.height for event in events.events if event.blockConfirmedBody is not None}
    for bad in events.undecodable:
        if bad.event_id is not None and bad.event_id == first_event_id(height_of(bad.event_id)):
            confirmed.add(height_of(bad.event_id))
    return confirmed
