"""The hub clock: between a shard's block heights and time, in both directions.

Events carry no time of their own; a block's time is in its BLOCK_CONFIRMED alone (hub-api 4.1). Blocks come about once
a second, but times may stand still or jump between two blocks; they never go back.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.errors import HubError, HubUntrusted
from fc_pipeline.hub.client import HubDisconnected, HubMalformed
from fc_pipeline.hub.decode import decode_events, decode_in_order
from fc_pipeline.hub.event_batch import block_times_of
from fc_pipeline.hub.page_reader import END_OF_IDS, PLAUSIBLE_JUMP_HEIGHTS, PageReader, stop_ignored
from fc_pipeline.hub.reads import ReadEndpoints
from fc_pipeline.hub.wire import ShardInfo, first_event_id

__all__ = ["HubClock", "NoEvents", "TimeEstimate"]

MAX_CACHED_TIMES: Final = 100_000
NEWEST_EVENTS: Final = 2
"""One for the hub's height, another to check that its id is plausible and that the hub applied `reverse`."""
PAGE_PAST_UNREADABLE: Final = 100


class NoEvents(HubError):
    """The shard has no event yet, so there is no oldest height and no head."""


@dataclass(frozen=True)
class TimeEstimate:
    """A block whose time is known from the hub's block delay; the others are taken to be one second apart."""

    height: int
    unix_seconds: int

    def time_of(self, height: int) -> int:
        """Estimated unix seconds of a height, below or above."""
        return max(0, self.unix_seconds + height - self.height)


@dataclass(frozen=True)
class _Block:
    height: int
    unix_seconds: int


class HubClock:
    """Heights and times of one shard, read from a hub or a pool of hubs.

    Where the feed has no BLOCK_CONFIRMED (older nodes, recorded logs), a height's time is estimated from `/v1/info`:
    the head's time is now less `blockDelay`, and blocks are one second apart. The estimate is made once and kept, so
    that a height keeps its time while the clock lives; `now` (unix seconds) is injected by tests.
    """

    def __init__(self, hubs: ReadEndpoints, shard: int, *, now: Callable[[], float] = time.time) -> None:
        self._hubs = hubs
        self._shard = shard
        self._reader = PageReader(hubs, shard)
        self._now = now
        self._times: dict[int, int] = {}
        self._estimate: TimeEstimate | None = None
        self._is_unconfirmed_feed = False

    async def fill_times(
        self, known: Mapping[int, int], heights: Iterable[int], below: tuple[int, int] | None
    ) -> dict[int, int]:
        """Times for all of `heights`: the `known` ones, and for each other one a time between its neighbours'.

        It is one second per block away from the nearest one below, else above; without either, the estimate. `below`
        is the height and time of a block before all these. Times never go back.
        """
        times: dict[int, int] = {}
        above = sorted(known.items(), reverse=True)
        for height in sorted({*heights, *known}):
            while above and above[-1][0] < height:
                above.pop()
            if height in known:
                at = known[height]
            elif below is not None:
                at = below[1] + height - below[0]
            elif above:
                at = above[-1][1] - (above[-1][0] - height)
            else:
                at = (await self.estimate()).time_of(height)
            times[height] = min(at, above[-1][1]) if above else at
            below = (height, times[height])
        return times

    async def time_of(self, height: int) -> int:
        """Unix seconds of the block at `height`.

        For a height that the hub has no block of, the time of the next block above; above the head, or in a feed
        without BLOCK_CONFIRMED, the estimate. Raises NoEvents, HubUnavailable.
        """
        if height in self._times:
            return self._times[height]
        block = await self._block_from(height)
        return block.unix_seconds if block else (await self.estimate()).time_of(height)

    async def oldest(self) -> tuple[int, int]:
        """Height and unix seconds of the oldest block that the hub retains. Raises NoEvents."""
        block = await self._block_from(1)
        if block is None:
            raise self._no_events()
        return block.height, block.unix_seconds

    async def head(self) -> tuple[int, int]:
        """Height and unix seconds of the newest block. Raises NoEvents."""
        height = await self._newest_height(None)
        if height is None:
            raise self._no_events()
        return height, await self.time_of(height)

    def _no_events(self) -> NoEvents:
        return NoEvents(
            f"hub {self._hubs.name} has no event of shard {self._shard}",
            hint="it is new, or has lost its past: wait until it has synced, or name another hub in FC_HUB_URLS",
        )

    async def last_height_up_to(self, height: int) -> int | None:
        """The highest height up to this one that the hub has a block of; None if it has none."""
        return height if height in self._times else await self._newest_height(height)

    async def confirmed_from(self, height: int) -> int | None:
        """The height of the first block at or above this one, if its BLOCK_CONFIRMED is there.

        Then the hub has none of the heights between; without BLOCK_CONFIRMED they may have had no events.
        """
        block = await self._block_from(height)
        return block.height if block is not None and block.height in self._times else None

    async def first_height_at(self, unix_seconds: int) -> int:
        """The first block's height whose time is at or after `unix_seconds`; head + 1 if all are before.

        The oldest retained height where even that is not before. Raises NoEvents.
        """
        oldest_height, oldest_time = await self.oldest()
        if oldest_time >= unix_seconds:
            return oldest_height
        head_height, head_time = await self.head()
        if head_time < unix_seconds:
            return head_height + 1
        return await self._search(_Block(oldest_height, oldest_time), _Block(head_height, head_time), unix_seconds)

    async def estimate(self) -> TimeEstimate:
        """The estimate for feeds without BLOCK_CONFIRMED, from `/v1/info`."""
        if self._estimate is None:
            info = await self._shard_info()
            self._estimate = TimeEstimate(info.maxHeight, int(self._now()) - info.blockDelay)
        return self._estimate

    async def _shard_info(self) -> ShardInfo:
        for shard in (await self._hubs.info()).shardInfos:
            if shard.shardId == self._shard:
                return shard
        raise HubUntrusted(f"hub {self._hubs.name} GET /v1/info: nothing is said of shard {self._shard}")

    async def _search(self, before: _Block, after: _Block, unix_seconds: int) -> int:
        """The lowest height at or after `unix_seconds`, between a block before it and one that is not.

        Aims where the time would lie if blocks came evenly; every third probe halves the range instead, so that the
        number of requests stays logarithmic whatever the times are. `end`: no block lies in `end`…`after.height - 1`.
        """
        end = after.height
        probes = 0
        while end - before.height > 1:
            probes += 1
            if probes % 3:
                share = (unix_seconds - before.unix_seconds) / max(1, after.unix_seconds - before.unix_seconds)
                aim = before.height + int(share * (end - before.height)) - (probes % 3 - 1)
                aim = min(max(aim, before.height + 1), end - 1)
            else:
                aim = (before.height + end) // 2
            block = await self._block_from(aim)
            if block is None or block.height >= after.height:
                end = aim
            elif block.unix_seconds >= unix_seconds:
                end, after = aim, block
            else:
                before = block
        return after.height

    async def _block_from(self, height: int) -> _Block | None:
        """The first block at or above `height` and its time; None above the head."""
        if height in self._times:
            return _Block(height, self._times[height])
        page = await self._reader.first_event(first_event_id(max(1, height)))
        if page.last_id is None:
            return None
        found = page.heights()[0]
        times = block_times_of(page.events)
        if found not in times:
            return await self._unconfirmed_block(found)
        if len(self._times) >= MAX_CACHED_TIMES:
            self._times.clear()
        self._times[found] = times[found]
        return _Block(found, times[found])

    async def _unconfirmed_block(self, height: int) -> _Block:
        """A block without a readable BLOCK_CONFIRMED: the next one's time, or in a feed that has none, the estimate."""
        if not self._is_unconfirmed_feed:
            following = await self._reader.first_event(first_event_id(height + 1))
            if times := block_times_of(following.events):
                return _Block(height, min(times.values()))
            self._is_unconfirmed_feed = following.last_id is not None
        return _Block(height, (await self.estimate()).time_of(height))

    async def _newest_height(self, up_to: int | None) -> int | None:
        floor = first_event_id(1)
        stop_id = None if up_to is None else first_event_id(max(up_to, 0) + 1)
        for page_size in (NEWEST_EVENTS, PAGE_PAST_UNREADABLE):
            try:
                raws = await self._hubs.events(self._shard, floor, stop_id, page_size=page_size, reverse=True)
            except HubMalformed:
                continue  # one that is no JSON: with more behind it the page can be split
            except HubDisconnected:
                break  # one that the hub cannot send (hub-api T3)
            if not raws:
                return None
            ids = [event_id for event_id in decode_events(raws)[0] if event_id >= floor]
            # One of two events may have a wrong id, so read more of them.
            height = None if _is_oldest_first(ids) else await self._highest(raws[::-1], stop_id)
            if height is not None:
                return height
            if page_size == PAGE_PAST_UNREADABLE or len(raws) < page_size:
                self._refuse_another_answer(ids, stop_id)
                return None
        return (await self._shard_info()).maxHeight if up_to is None else up_to

    async def _highest(self, raws: list[bytes], stop_id: int | None) -> int | None:
        """The height of the last of these events that has an id, and no absurd one."""
        floor = first_event_id(1)
        end = END_OF_IDS if stop_id is None else stop_id
        page = decode_in_order(raws, floor=floor, ceiling=end, previous_id=floor, shard=self._shard)
        heights = page.heights()
        if len(heights) > 1 and heights[-1] - heights[-2] > PLAUSIBLE_JUMP_HEIGHTS:
            ceiling = min(end, await self._reader.ceiling())
            page = decode_in_order(raws, floor=floor, ceiling=ceiling, previous_id=floor, shard=self._shard)
            heights = page.heights()
        return heights[-1] if heights else None

    def _refuse_another_answer(self, ids: Sequence[int], stop_id: int | None) -> None:
        """Raise HubUntrusted if the hub ignored `reverse` or `stop_id` (hub-api T1)."""
        if _is_oldest_first(ids):
            raise HubUntrusted(
                f"hub {self._hubs.name} answered the oldest events of shard {self._shard} when asked for the newest",
                hint="is it a Snapchain hub's HTTP API?",
            )
        if stop_id is not None and ids and min(ids) >= stop_id:
            raise stop_ignored(self._hubs.name, self._shard, stop_id)


def _is_oldest_first(ids: Sequence[int]) -> bool:
    return len(set(ids)) > 1 and list(ids) == sorted(ids)
