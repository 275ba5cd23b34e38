"""The feed of one shard: complete blocks in order of height, from any usable hub, past unreadable events.

Every block opens with BLOCK_CONFIRMED at sequence 0 and heights have no holes (hub-api 3.4), so a jump between heights
is a hole. Only logs without BLOCK_CONFIRMED (older nodes, recorded logs) may leave out heights that had no events.
"""

import logging
from bisect import bisect_left
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Final

from fc_pipeline.errors import HubError
from fc_pipeline.hub.clock import HubClock
from fc_pipeline.hub.event_batch import DecodedEvents, EventBatch, block_times_of, ends_as_announced
from fc_pipeline.hub.failover import LAG_WAIT_SECONDS, HubPool
from fc_pipeline.hub.page_reader import FeedPage, PageReader
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.vetting import FAILOVER_ERRORS, NODES_ASKED
from fc_pipeline.hub.wire import first_event_id, height_of

__all__ = ["BlockCutter", "Feed"]

log = logging.getLogger(__name__)

LOWEST_HEIGHT: Final = 1
"""Events at height 0 are leftovers of a node's bootstrap (hub-api 3.5)."""


class Feed:
    """Reads one shard from a pool of hubs. `clock` estimates the times of blocks without BLOCK_CONFIRMED."""

    def __init__(self, pool: HubPool, shard: int, *, clock: HubClock | None = None) -> None:
        self._pool = pool
        self._shard = shard
        self._clock = clock or HubClock(pool, shard)
        self._readers: dict[HubReads, PageReader] = {}

    async def blocks(
        self, from_height: int, until_height: int | None = None, *, page_size: int = 1000
    ) -> AsyncIterator[EventBatch]:
        """Complete blocks from `from_height` to the head, or to `until_height` inclusive; about one batch per page.

        Batches ascend and each covers its heights without a hole. Where one's `from_height` is above the last one's
        `to_height` + 1, the heights between are a hole: the hub has no events of them, or no longer. Only in a feed
        without BLOCK_CONFIRMED are left-out heights taken as covered: they had no events.

        Every height with events has its time in `block_times`; of heights without any, the last one has. Events that
        the hub cannot send are in `undecodable` with empty `raw` (hub-api T3). Ends at the head; call it again from the
        last `to_height` + 1. The head of a node that is behind does not end it if the hub has sent more of the range:
        the rest is requested again, and waited for a while. Raises HubUnavailable or HubUntrusted when no hub can be
        followed.
        """
        reading = _Reading(max(from_height, LOWEST_HEIGHT), until_height, page_size, self._shard)
        failed: dict[HubReads, HubError] = {}
        last_block: tuple[int, int] | None = None
        waited_seconds = 0.0
        at_end = reading.is_done
        while not at_end:
            hub = await self._pool.follow(self._shard, reading.cutter.next_height - 1)
            if hub in failed:
                raise failed[hub]
            try:
                batches, at_end = await reading.next_page(hub, self._reader(hub))
            except FAILOVER_ERRORS as error:
                self._pool.leave(hub, error)
                failed[hub] = error
                continue
            failed.clear()
            waited_seconds = 0.0 if batches else waited_seconds
            for batch in batches:
                self._pool.note_height(hub, self._shard, batch.to_height)
                last_block = await self._fill_times(batch, last_block)
            batch = None
            # No reference to a finished batch is kept: decoded events take most of the memory.
            while batches:
                yield batches.pop(0)
            if at_end and reading.is_cut_short(self._pool.known_head(hub, self._shard)):
                hub.client.ask_another_node()
                if until_height is not None and waited_seconds < self._pool.max_lag_wait_seconds:
                    await self._pool.wait_for_lag()
                    waited_seconds += LAG_WAIT_SECONDS
                    at_end = False

    def _reader(self, hub: HubReads) -> PageReader:
        return self._readers.setdefault(hub, PageReader(hub, self._shard))

    async def _fill_times(self, batch: EventBatch, below: tuple[int, int] | None) -> tuple[int, int] | None:
        """Give every height with events a time; returns the last height that has one, with it.

        Heights without a block, which only feeds without BLOCK_CONFIRMED have, get the time of the block above.
        """
        heights = {event_id >> 14 for event_id in batch.event_ids}
        if not heights:
            batch.block_times = {batch.to_height: await self._clock.time_of(batch.to_height)}
        elif heights - batch.block_times.keys():
            batch.block_times = await self._clock.fill_times(batch.block_times, heights, below)
        return max(batch.block_times.items(), default=below)


class _Reading:
    """One reading of a range of heights: the pages, and the blocks cut from them."""

    def __init__(self, from_height: int, until_height: int | None, page_size: int, shard: int) -> None:
        self.cutter = BlockCutter(shard, from_height)
        self._until_height = until_height
        self._stop_id = None if until_height is None else first_event_id(until_height + 1)
        self._page_size = page_size
        self._hub: HubReads | None = None
        self._asked_again = 0
        self._is_read_beyond = False

    @property
    def is_done(self) -> bool:
        """Whether all heights up to the last one requested were returned."""
        return self._until_height is not None and self.cutter.next_height > self._until_height

    def is_cut_short(self, known_head: int) -> bool:
        """Whether it ended before heights that a node of the hub has shown, so that another one seems to answer."""
        return not self.is_done and not self._is_read_beyond and known_head >= self.cutter.next_height

    async def next_page(self, hub: HubReads, reader: PageReader) -> tuple[list[EventBatch], bool]:
        """The blocks that the next page completes, and whether the reading is at its end."""
        if hub is not self._hub:
            self._hub = hub
            self.cutter.restart()
        start = self.cutter.next_event_id
        # Records without an id at a page's beginning belong to the previous page, unless a block begins here.
        previous_id = start if start == first_event_id(height_of(start)) else start - 1
        page = await reader.read(start, self._stop_id, self._page_size, previous_id)
        if page.at_tip and page.events.last_id is None and not await self._is_half_read_block_whole(reader, page):
            self.cutter.restart()
            return [], not self._may_retry(hub)
        if page.events.last_id is not None:
            self._asked_again = 0
        oldest = await reader.oldest_height() if self.cutter.jumps_unproven(page.events) else None
        batches = self._cut(page, oldest)
        if page.at_tip and not self.is_done and self._until_height is not None:
            if self._may_retry(hub):
                return batches, False
            batches += await self._proof_of_no_events(reader, self._until_height)
        return batches, page.at_tip or self.is_done

    def _may_retry(self, hub: HubReads) -> bool:
        """Whether the end of a range that is not over is to be asked for again, of another node of the hub."""
        if self._until_height is None or self._asked_again >= NODES_ASKED - 1:
            return False
        self._asked_again += 1
        hub.client.ask_another_node()
        return True

    async def _is_half_read_block_whole(self, reader: PageReader, page: FeedPage) -> bool:
        """Whether what answered `page`, which has no id, has the event before it, and no more of that one's block.

        Of several nodes behind one address, or of a hub that was set back, the one that answers may be behind the one
        that sent the beginning of the block. The events of a block become visible at once (hub-api 3.4).
        """
        last_id = self.cutter.half_read_id
        is_as_announced = self.cutter.makes_whole(page.events)
        return last_id is None or await reader.ends_block(last_id, is_as_announced=is_as_announced)

    def _cut(self, page: FeedPage, oldest_height: int | None) -> list[EventBatch]:
        return self.cutter.add(page.events, page.next_event_id, at_tip=page.at_tip, oldest_height=oldest_height)

    async def _proof_of_no_events(self, reader: PageReader, until_height: int) -> list[EventBatch]:
        """The batch for heights at the range's end without events, where the next event above proves them."""
        following = await reader.first_event(first_event_id(until_height + 1))
        self._is_read_beyond = following.last_id is not None
        if not self._is_read_beyond:
            return []
        oldest_height = await reader.oldest_height()
        batch = self.cutter.close(until_height, following, oldest_height)
        return [batch] if batch else []


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
        return bool(heights) and heights[0] != self.next_height and heights[0] not in page.confirmed_heights()

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
        if not heights or self._is_hole(heights[0], following.confirmed_heights()):
            return None
        batch = EventBatch(self._shard, self.next_height, until_height)
        self.next_height = until_height + 1
        return batch

    def _batches(self, complete: DecodedEvents) -> list[EventBatch]:
        heights = complete.heights()
        if not heights:
            return []
        confirmed = complete.confirmed_heights()
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
        rest = EventBatch.of(self._shard, starts[0], heights[-1], complete, block_times_of(complete.events))
        batches: list[EventBatch] = []
        for start in starts[1:]:
            below, rest = rest.cut(start)
            below.to_height = heights[bisect_left(heights, start) - 1]
            batches.append(below)
        return [*batches, rest]

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
        confirmed = self._tail.confirmed_heights()
        if len(heights) < 2 or heights[0] in confirmed or heights[1] not in confirmed:
            return
        if self._tail.event_ids[0] > first_event_id(heights[0]) + 1:
            log.warning("block_incomplete shard=%d height=%d: the hub deletes it right now", self._shard, heights[0])
            _, self._tail = self._tail.cut(first_event_id(heights[1]))
