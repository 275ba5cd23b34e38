"""hub → raw log → fold: reads what the ledger lacks of a window of hours, and follows the feed if the window is open.

Each shard is read by its own task; what they hand over goes through others, each working in a thread: one stores it in
the raw log, one for each lane of the writer folds. Bounded queues lie between them, so fetching, decoding and loading
overlap, and memory stays flat whatever the backlog.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from fc_pipeline.errors import LeaseLost
from fc_pipeline.feed.batch_size import Pace, events_per_batch
from fc_pipeline.feed.lanes import LANES
from fc_pipeline.feed.lost_log import LostLog, delete_replaced, lost_log
from fc_pipeline.feed.survey import ShardSurvey, Survey
from fc_pipeline.feed.writer import BatchWriter, PreparedBatch, StoredBatch
from fc_pipeline.heights import HeightRange, holes
from fc_pipeline.hours import Hour, span_of
from fc_pipeline.hub.clock import HubClock
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.feed import Feed
from fc_pipeline.replica import Replica
from fc_pipeline.store import lease, ledger

__all__ = ["Drain", "HourWindow"]

log = logging.getLogger(__name__)

_BATCHES_AHEAD = LANES + 1
"""Micro-batches in flight behind the readers: one is folded in each lane, one is stored or waits."""
_PAGE_EVENTS = 5_000
_LOOK_SECONDS = 0.25
_READERS_GRACE_SECONDS = 1.0
_QUEUE_GRACE_SECONDS = 1.0
"""How long after a stop request a run still starts to store or fold; the rest is read again by the next run."""
_POLL_SECONDS = 0.2
_POLLS_PER_BATCH = 5
_POLLING_SHARE = 0.5
"""Share of a hub's request budget; the rest is for the runs that catch up at the same time."""


@dataclass(frozen=True, slots=True)
class HourWindow:
    """The hours `first`…`last`, inclusive."""

    first: Hour
    last: Hour

    def __contains__(self, hour: Hour | None) -> bool:
        return hour is not None and self.first <= hour <= self.last

    @property
    def span(self) -> str:
        """The hours as people write them."""
        return span_of(self.first.key, self.last.key)


@dataclass
class Drain:
    """One run's reading of a window of hours.

    `follow_until` (monotonic seconds) is when to stop following the feed, if the window holds the present hour; None
    ends at its head. It ends earlier as soon as another run waits to take over, and up to `overtime_seconds` later
    while none does. `should_stop` is polled: once it returns True, what was read is still written, and nothing more is
    read. `verify_log` has every file of the window's raw log read, so that damaged ones are replaced; without it, only
    those that are gone or cut short are.
    """

    replica: Replica
    hubs: HubPool
    writer: BatchWriter
    window: HourWindow
    follow_until: float | None = None
    overtime_seconds: float = 0.0
    should_stop: Callable[[], bool] = lambda: False
    verify_log: bool = False
    ending: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_BATCHES_AHEAD), init=False)

    async def run(self, state: Survey) -> None:
        """Read and write; ends when the window is covered as far as the hub goes, and following is over.

        Raises LeaseLost if another run has taken over, HubUnavailable or HubUntrusted if no hub can be read.
        """
        follows = self.follow_until is not None and state.present_hour in self.window
        queue: asyncio.Queue[list[PreparedBatch] | None] = asyncio.Queue()
        lanes: list[asyncio.Queue[StoredBatch | None]] = [asyncio.Queue() for _ in range(LANES)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._store(queue, lanes, tasks))
            for lane, stored in enumerate(lanes):
                tasks.create_task(self._fold(stored, lane))
            async with asyncio.TaskGroup() as readers:
                ready = await self._readers(state, queue, follows=follows)
                reading = [readers.create_task(reader.run()) for reader in ready]
                readers.create_task(self._end_in_time(ready, reading))
            queue.put_nowait(None)

    async def _readers(
        self, state: Survey, queue: asyncio.Queue[list[PreparedBatch] | None], *, follows: bool
    ) -> list["_ShardReader"]:
        """A reader per shard that has heights in the window, each with the lease on its first hour, in hour order."""
        shards = [shard.shard for shard in state.shards]
        readers = [
            _ShardReader(self, shard, state.clocks[shard.shard], queue, shards, follows=follows)
            for shard in state.shards
        ]
        first_hours = {await reader.first_hour() for reader in readers}
        # Listing the log may take long: other runs keep writing the hour meanwhile.
        await asyncio.gather(*(reader.inspect_log() for reader in readers))
        hours = sorted(hour for hour in first_hours if hour is not None)

        def nothing_to_wait_for() -> bool:
            # Another run that writes the hour may read just what this run was started for.
            return self.should_stop() or (not follows and not any(reader.missing() for reader in readers))

        def hold_all() -> None:
            for hour in hours:
                self.writer.hold(hour, shards, unless=nothing_to_wait_for)

        def hold_as_successor() -> None:
            with lease.as_successor(self.replica.engine):
                hold_all()

        await asyncio.to_thread(hold_as_successor if follows else hold_all)
        return readers

    async def _end_in_time(self, readers: Sequence["_ShardReader"], reading: Collection[asyncio.Task[None]]) -> None:
        """End the readers when it is time; the next run reads what they have left."""
        pending = set(reading)
        while pending and not await self._is_over(readers):
            _, pending = await asyncio.wait(pending, timeout=_LOOK_SECONDS)
        self.ending.set()
        if self.should_stop():
            asyncio.get_running_loop().call_later(_QUEUE_GRACE_SECONDS, self._leaving.set)
        if pending:
            _, late = await asyncio.wait(pending, timeout=_READERS_GRACE_SECONDS)
            for task in late:  # it waits for a hub, or for what is folded before
                task.cancel()

    async def _is_over(self, readers: Sequence["_ShardReader"]) -> bool:
        if self.should_stop():
            return True
        if self.follow_until is None or not any(reader.follows for reader in readers):
            return False
        if time.monotonic() >= self.follow_until + self.overtime_seconds and all(
            reader.is_at_tip for reader in readers
        ):
            return True
        return await asyncio.to_thread(lease.successor_waits, self.replica.engine)

    async def _store(
        self,
        queue: asyncio.Queue[list[PreparedBatch] | None],
        lanes: Sequence[asyncio.Queue[StoredBatch | None]],
        tasks: asyncio.TaskGroup,
    ) -> None:
        while (parts := await queue.get()) is not None:
            if self._leaving.is_set():
                self.room.release()
            else:
                batch = await asyncio.to_thread(self.writer.store_new, parts)
                lanes[self.writer.lane_of(batch)].put_nowait(batch)
                if batch.files_to_join:  # concurrently with storing the next one
                    tasks.create_task(asyncio.to_thread(self.writer.join_files, batch.files_to_join))
            del parts  # frees memory while waiting for the next one
        for stored in lanes:
            stored.put_nowait(None)

    async def _fold(self, stored: asyncio.Queue[StoredBatch | None], lane: int) -> None:
        while (batch := await stored.get()) is not None:
            if not self._leaving.is_set():
                await asyncio.to_thread(self.writer.fold_new, batch, lane)
            del batch
            self.room.release()


class _ShardReader:
    """Reads one shard's missing heights in ascending order, then follows its head."""

    def __init__(
        self,
        drain: Drain,
        shard: ShardSurvey,
        clock: HubClock,
        queue: asyncio.Queue[list[PreparedBatch] | None],
        shards: Sequence[int],
        *,
        follows: bool,
    ) -> None:
        self._drain = drain
        self._shard = shard
        self._clock = clock
        self._queue = queue
        self.follows = follows
        self.is_at_tip = False
        self._shards = shards
        self._in_window = HeightRange(0, -1)
        self._feed = Feed(drain.hubs, shard.shard, clock=clock)
        self._usual_events = drain.replica.settings.batch_events
        self._pace = Pace()
        self._pending: list[PreparedBatch] = []
        self._lost = LostLog()

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
        """Read what is missing, then follow; needs the lease on the first hour, so that no other run fills it."""
        await self._repair_log()
        next_height: int | None = None
        for hole in self.missing():
            if self._is_ending():
                return
            reached = await self._read(hole.first, hole.last)
            await self._flush()
            # A node that is behind did not have the end of it yet.
            next_height = reached if hole.last == self._in_window.last and reached <= hole.last else None
        if self.follows:
            self.is_at_tip = True
            await self._follow(self._first_unread() if next_height is None else next_height)

    def _is_ending(self) -> bool:
        return self._drain.ending.is_set() or self._drain.should_stop()

    def missing(self) -> list[HeightRange]:
        """The heights of the window that the ledger lacks altogether."""
        with self._drain.replica.engine.connect() as connection:
            covered = ledger.covered(connection, self._shard.shard)
        return holes(covered, self._in_window.first, self._in_window.last)

    async def inspect_log(self) -> None:
        """Find what the raw log lacks or has damaged in the window."""
        self._lost = await asyncio.to_thread(self._lost_log)

    async def _repair_log(self) -> None:
        """Read again what the raw log lost, as far as the hub still has it."""
        replica, number, lost = self._drain.replica, self._shard.shard, self._lost
        for heights in lost.heights:
            log.warning("raw_log_lost shard=%d heights=%d-%d", number, heights.first, heights.last)
            await self._restore(heights)
        for file, problem in lost.damaged.items():
            log.warning("raw_log_damaged file=%s: %s", file.path, problem)
        await asyncio.to_thread(delete_replaced, replica, number, lost)

    def _lost_log(self) -> LostLog:
        replica, window = self._drain.replica, self._drain.window
        with replica.engine.connect() as connection:
            keys = ledger.covered_partitions(connection, within=(window.first.key, window.last.key))
        return lost_log(
            replica,
            self._shard.shard,
            sorted(map(Hour.from_key, keys)),
            reading=self._drain.verify_log,
            should_stop=self._is_ending,
        )

    async def _restore(self, gap: HeightRange) -> None:
        """Store heights in the raw log again, as far as the hub still has them; they are folded already."""
        async for batch in self._feed.blocks(gap.first, gap.last, page_size=_PAGE_EVENTS):
            for hour, part in batch.by_hour():
                await asyncio.to_thread(self._drain.writer.store, hour, part)

    async def _last_before(self, unix_seconds: int) -> int:
        """The height of the last block before a time; 0 if the hub has none."""
        first_after = await self._clock.first_height_at(unix_seconds)
        return await self._clock.last_height_up_to(first_after - 1) or 0

    async def _follow(self, next_height: int) -> None:
        """Poll the head until it is time to end or the next run starts; a micro-batch about every `batch_seconds`.

        Events are committed at once if the last micro-batch was that long ago: a network with one block per second is
        followed with only the delay of polling. The next run has taken the lease on the new hour and continues there.
        """
        batch_seconds = self._drain.replica.settings.batch_seconds
        poll_seconds = max(min(batch_seconds / _POLLS_PER_BATCH, _POLL_SECONDS), self._min_poll_seconds())
        flushed = float("-inf")
        try:
            while not self._is_ending():
                next_height = await self._read(next_height, None)
                now = time.monotonic()
                if self._pending and now - flushed > batch_seconds - poll_seconds:
                    flushed = now
                    await self._flush()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._drain.ending.wait(), poll_seconds)
            await self._flush()
        except LeaseLost as lost:
            log.info("handed_over shard=%d: %s", self._shard.shard, lost.message)

    def _first_unread(self) -> int:
        """Where to continue: the previous run has read beyond the head that the survey saw."""
        with self._drain.replica.engine.connect() as connection:
            last = ledger.last_covered(connection, self._shard.shard)
        return max(self._shard.head_height, last[0] if last else 0) + 1

    def _min_poll_seconds(self) -> float:
        settings = self._drain.replica.settings
        budgets = [rps for url in settings.hub_urls if (rps := settings.hub_rps_for(url)) is not None]
        return len(self._shards) / (_POLLING_SHARE * min(budgets)) if budgets else 0.0

    async def _read(self, first: int, last: int | None) -> int:
        """Read a range, or up to the head, in large enough micro-batches; gives the height after the last one."""
        page_size = min(self._usual_events, _PAGE_EVENTS)
        async for batch in self._feed.blocks(first, last, page_size=page_size):
            self._pace.count(batch)
            first = batch.to_height + 1
            prepare = self._drain.writer.prepare
            parts = [await asyncio.to_thread(prepare, hour, part) for hour, part in batch.by_hour()]
            del batch  # its decoded events are not needed while this waits for what is folded before
            backlog_events = self._pace.expected_events(0 if last is None else last + 1 - first)
            while parts:
                await self._gather(parts.pop(0), backlog_events)
            if self._is_ending():
                break
        return first

    async def _gather(self, prepared: PreparedBatch, backlog_events: int) -> None:
        """Keep what belongs together; hand over what is large enough or ends an hour."""
        if self._pending and not self._pending[-1].is_followed_by(prepared):
            await self._flush()
        self._pending.append(prepared)
        enough = events_per_batch(backlog_events, usual_events=self._usual_events, event_bytes=self._pace.event_bytes)
        if sum(part.micro_batch.events for part in self._pending) >= enough:
            await self._flush()

    async def _flush(self) -> None:
        if self._pending:
            parts, self._pending = self._pending, []
            if await self._hold(parts[0].hour):
                await self._drain.room.acquire()
                self._queue.put_nowait(parts)

    async def _hold(self, hour: Hour) -> bool:
        """Hold the lease on an hour; False if the run was asked to stop while it waited for it."""
        wait_seconds = 0.0 if self.is_at_tip else None
        hold, should_stop = self._drain.writer.hold, self._drain.should_stop
        return await asyncio.to_thread(hold, hour, self._shards, wait_seconds=wait_seconds, unless=should_stop)
