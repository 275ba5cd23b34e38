"""hub → raw log → fold: reads what the ledger lacks of a window of hours, and follows the feed if the window is open.

Each shard is read by its own task; what they hand over goes through two more, each working in a thread: one stores it
in the raw log and makes Arrow tables of it, one folds. Bounded queues lie between them, so fetching, decoding and
loading overlap, and memory stays flat whatever the backlog.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fc_pipeline.errors import LeaseLost
from fc_pipeline.fold import ledger
from fc_pipeline.fold.ledger import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.hub.clock import HubClock
from fc_pipeline.hub.decode import EventBatch
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.feed import Feed
from fc_pipeline.ingest.batches import join, split_by_hour
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.survey import ShardSurvey, Survey
from fc_pipeline.ingest.writer import BatchWriter, StoredBatch

__all__ = ["Drain", "HourWindow"]

log = logging.getLogger(__name__)

_QUEUED_BATCHES = 1
_PAGE_EVENTS = 5_000


@dataclass(frozen=True, slots=True)
class HourWindow:
    """The hours `first`…`last`, inclusive."""

    first: Hour
    last: Hour

    def __contains__(self, hour: Hour | None) -> bool:
        return hour is not None and self.first <= hour <= self.last


@dataclass
class Drain:
    """One run's reading of a window of hours.

    `follow_seconds` is how long the feed is followed after its tip was reached, if the window holds the present hour;
    0 ends there. `should_stop` is asked between micro-batches.
    """

    replica: Replica
    hubs: HubPool
    writer: BatchWriter
    window: HourWindow
    follow_seconds: float = 0.0
    should_stop: Callable[[], bool] = lambda: False

    async def run(self, state: Survey) -> None:
        """Read and write; ends when the window is covered as far as the hub goes, and following is over.

        Raises LeaseLost if another run has taken over, HubUnavailable or HubUntrusted if no hub can be read.
        """
        deadline = time.monotonic() + self.follow_seconds
        follow = self.follow_seconds > 0 and state.present_hour in self.window
        queue: asyncio.Queue[tuple[Hour, EventBatch] | None] = asyncio.Queue(_QUEUED_BATCHES)
        stored: asyncio.Queue[StoredBatch | None] = asyncio.Queue(_QUEUED_BATCHES)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._store(queue, stored))
            tasks.create_task(self._fold(stored))
            async with asyncio.TaskGroup() as readers:
                for reader in await self._readers(state, queue, deadline if follow else None):
                    readers.create_task(reader.run())
            await queue.put(None)

    async def _readers(
        self, state: Survey, queue: asyncio.Queue[tuple[Hour, EventBatch] | None], follow_until: float | None
    ) -> list["_ShardReader"]:
        """A reader per shard that has heights in the window, each with its first hour held, in the hours' order."""
        shards = [shard.shard for shard in state.shards]
        readers = [
            _ShardReader(self, shard, state.clocks[shard.shard], queue, follow_until, shards) for shard in state.shards
        ]
        first_hours = [await reader.first_hour() for reader in readers]

        def nothing_is_missing() -> bool:
            return follow_until is None and not any(reader.missing() for reader in readers)

        for hour in sorted({hour for hour in first_hours if hour is not None}):
            # Whoever writes the hour may read just what this run was started for: then there is nothing to wait for.
            await asyncio.to_thread(self.writer.hold, hour, shards, unless=nothing_is_missing)
        return readers

    async def _store(
        self, queue: asyncio.Queue[tuple[Hour, EventBatch] | None], stored: asyncio.Queue[StoredBatch | None]
    ) -> None:
        while (item := await queue.get()) is not None:
            await stored.put(await asyncio.to_thread(self.writer.store_new, *item))
        await stored.put(None)

    async def _fold(self, stored: asyncio.Queue[StoredBatch | None]) -> None:
        while (batch := await stored.get()) is not None:
            await asyncio.to_thread(self.writer.fold_new, batch)


class _ShardReader:
    """Reads one shard's missing heights, in ascending order, and then its tip."""

    def __init__(
        self,
        drain: Drain,
        shard: ShardSurvey,
        clock: HubClock,
        queue: asyncio.Queue[tuple[Hour, EventBatch] | None],
        follow_until: float | None,
        shards: Sequence[int],
    ) -> None:
        self._drain = drain
        self._shard = shard
        self._clock = clock
        self._queue = queue
        self._follow_until = follow_until
        self._follows = False
        self._shards = shards
        self._in_window = HeightRange(0, -1)
        self._feed = Feed(drain.hubs, shard.shard, clock=clock)
        self._batch_events = drain.replica.settings.batch_events
        self._pending: tuple[Hour, EventBatch] | None = None

    async def first_hour(self) -> Hour | None:
        """The first hour with heights of the window; None if there are none.

        Heights without a block, which only feeds without BLOCK_CONFIRMED have, belong to the hour of the block above.
        """
        shard, window = self._shard, self._drain.window
        last = shard.head_height
        if shard.head_unix >= window.last.end_unix:
            last = await self._last_before(window.last.end_unix)
        first = max(shard.origin_height, await self._last_before(window.first.start_unix) + 1)
        self._in_window = HeightRange(first, last)
        return Hour.of(await self._clock.time_of(first)) if first <= last else None

    async def run(self) -> None:
        """Read what is missing, then follow; the first hour must be held, so that nobody else fills it meanwhile."""
        for gap in self._unlogged():
            await self._restore(gap)
        for hole in self.missing():
            if self._drain.should_stop():
                return
            await self._read(hole.first, hole.last)
        if self._follow_until is not None:
            self._follows = True
            await self._follow(self._follow_until)

    def missing(self) -> list[HeightRange]:
        """The heights of the window that the ledger lacks altogether."""
        with self._drain.replica.engine.connect() as connection:
            covered = ledger.covered(connection, self._shard.shard)
        return ledger.holes(covered, self._in_window.first, self._in_window.last)

    def _unlogged(self) -> list[HeightRange]:
        """The heights of the window that the ledger covers, and whose files the raw log has lost."""
        shard, log = self._shard.shard, self._drain.replica.log
        gaps: list[HeightRange] = []
        with self._drain.replica.engine.connect() as connection:
            hours = {Hour.from_key(key) for key in ledger.covered_partitions(connection)}
            for hour in sorted(hour for hour in hours if hour in self._drain.window):
                # The ledger first: a file is written before its heights are covered.
                covered = ledger.covered(connection, shard, partition=hour.key)
                stored = [HeightRange(file.from_height, file.to_height) for file in log.files(hour, shard)]
                gaps += [gap for folded in covered for gap in ledger.holes(stored, folded.first, folded.last)]
        return gaps

    async def _restore(self, gap: HeightRange) -> None:
        """Store heights in the raw log again, as far as the hub still has them; they are folded already."""
        async for batch in self._feed.blocks(gap.first, gap.last, page_size=_PAGE_EVENTS):
            await self._fill_time(batch)
            for hour, part in split_by_hour(batch):
                await asyncio.to_thread(self._drain.writer.store, hour, part)

    async def _fill_time(self, batch: EventBatch) -> None:
        """Heights without a block, which only feeds without BLOCK_CONFIRMED have, get the time of the block above."""
        if not batch.block_times:
            batch.block_times[batch.to_height] = await self._clock.time_of(batch.to_height)

    async def _last_before(self, unix_seconds: int) -> int:
        """The height of the last block before a time; 0 if the hub has none."""
        first_after = await self._clock.first_height_at(unix_seconds)
        return await self._clock.last_height_up_to(first_after - 1) or 0

    async def _follow(self, until: float) -> None:
        """Poll the tip, a micro-batch every `batch_seconds`, until the time is over or the next run has begun.

        That one has taken the lease on the hour that begins, and reads on from there.
        """
        next_height = self._shard.head_height + 1
        pause = self._drain.replica.settings.batch_seconds
        while time.monotonic() < until and not self._drain.should_stop():
            started = time.monotonic()
            try:
                next_height = await self._read(next_height, None)
            except LeaseLost as lost:
                log.info("handed_over shard=%d: %s", self._shard.shard, lost.message)
                return
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - started)))

    async def _read(self, first: int, last: int | None) -> int:
        """Read a range, or to the tip, and hand over micro-batches; gives the height after the last one read."""
        page_size = min(self._batch_events, _PAGE_EVENTS)
        async for batch in self._feed.blocks(first, last, page_size=page_size):
            await self._fill_time(batch)
            for hour, part in split_by_hour(batch):
                await self._gather(hour, part)
            first = batch.to_height + 1
            if self._drain.should_stop():
                break
        await self._flush()
        return first

    async def _gather(self, hour: Hour, batch: EventBatch) -> None:
        """Join what belongs together; hand over what is large enough or ends an hour."""
        if self._pending is not None:
            pending_hour, pending = self._pending
            if pending_hour == hour and pending.to_height + 1 == batch.from_height:
                self._pending = (hour, join(pending, batch))
            else:
                await self._flush()
        if self._pending is None:
            self._pending = (hour, batch)
        if len(self._pending[1].raws) >= self._batch_events:
            await self._flush()

    async def _flush(self) -> None:
        if self._pending is not None:
            hour, batch = self._pending
            self._pending = None
            await self._hold(hour)
            await self._queue.put((hour, batch))

    async def _hold(self, hour: Hour) -> None:
        wait_seconds = 0.0 if self._follows else None
        await asyncio.to_thread(self._drain.writer.hold, hour, self._shards, wait_seconds=wait_seconds)
