"""Live mode: how a hub's log grows as time passes."""

import re
from pathlib import Path
from random import Random
from typing import Final

from fc_pipeline.errors import ConfigError
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.sample_hub.generator.resume import highest_fid, world_of
from fc_pipeline.sample_hub.generator.simulation import Simulation, first_heights
from fc_pipeline.sample_hub.log import Block, EventLog, block_of, log_from_lines
from fc_pipeline.sample_hub.record import Record
from fc_pipeline.sample_hub.state import HubState

__all__ = ["Endless", "Reveal"]

_BLOCK_TIME: Final = re.compile(rb'("blockConfirmedBody":\{[^}]*?"timestamp":)\d+')
MAX_NEW_USERS: Final = 100_000


class Reveal:
    """The log's blocks appear one after another, in the order of the file, at so many events per second.

    A block appears when its last event is due, and its BLOCK_CONFIRMED is stamped with that second.
    Everything in the log is hidden at first.
    """

    def __init__(self, log: EventLog, *, events_per_second: float, start_unix: float) -> None:
        if events_per_second <= 0:
            raise ConfigError("the live rate must be above 0 events per second")
        self._rate = events_per_second
        self._start_unix = start_unix
        self._order = log.arrival[:]
        self._next = 0
        self._revealed = 0
        for shard in log.shards.values():
            shard.hide_all()

    def advance(self, log: EventLog, now_unix: float) -> None:
        """Make every block visible that is due by now."""
        while self._next < len(self._order):
            shard = log.shards[self._order[self._next]]
            block = shard.hidden_block()
            if block is None:
                return
            due_unix = self._start_unix + (self._revealed + len(block.raws)) / self._rate
            if due_unix > now_unix:
                return
            shard.reveal(stamped(block, int(due_unix)))
            self._revealed += len(block.raws)
            self._next += 1


def stamped(block: Block, unix_seconds: int) -> Block:
    """The block with its BLOCK_CONFIRMED's time set; all other bytes stay, and a block without one stays as it is."""
    raws = list(block.raws)
    if block.unix_seconds is not None:
        raws[0] = _BLOCK_TIME.sub(rb"\g<1>%d" % (unix_seconds - FARCASTER_EPOCH_UNIX), raws[0], count=1)
    return Block(block.height, block.event_ids, raws, unix_seconds, block.registrations)


class Endless:
    """The whole log is history, and newly generated blocks follow: one per second and shard, for ever.

    With a record file, what was generated is read back at the next start, so that the hub never goes back in time.
    """

    def __init__(
        self, log: EventLog, *, events_per_second: float, start_unix: float, seed: int = 0, record: Path | None = None
    ) -> None:
        if events_per_second <= 0:
            raise ConfigError("the live rate must be above 0 events per second")
        self._rate = events_per_second
        self._record = Record(record) if record is not None else None
        shards = max(log.shards, default=2)
        if self._record is not None:
            self._read_back(log, self._record, shards)
        state = HubState()
        state.follow(log)
        heights = {
            shard: log.shards[shard].head_height + 1 if shard in log.shards else first
            for shard, first in first_heights(shards).items()
        }
        world = world_of(state, shards)
        self._simulation = Simulation(
            Random(f"{seed}:{sorted(heights.items())}"),  # noqa: S311 - reproducible content, nothing secret
            world,
            heights=heights,
            fids=len(world.users) + MAX_NEW_USERS,
            newest_fid=highest_fid(state),
            gasless_keys=any(user.keyring for user in world.users),
            signed=True,
        )
        newest = max((shard.newest_unix or 0 for shard in log.shards.values()), default=0)
        self._next_second = max(int(start_unix), newest + 1)
        self._owed = 0.0

    @staticmethod
    def _read_back(log: EventLog, record: Record, shards: int) -> None:
        """Put what was recorded behind the log. Raises ConfigError where the record does not continue it."""
        recorded = log_from_lines(record.complete_lines(shards), source=str(record.path))
        heads = {shard: log.shards[shard].head_height for shard in log.shards}
        for shard, rows in recorded.shards.items():
            rows.hide_all()
            first = rows.hidden_block()
            if first is not None and heads.get(shard) not in (None, first.height - 1):
                raise ConfigError(
                    f"the record {record.path} starts at height {first.height} of shard {shard}, "
                    f"but the log ends at {heads[shard]}",
                    hint="give the log that was served when it was recorded, or delete the record",
                )
        for shard in recorded.arrival:
            block = recorded.shards[shard].hidden_block()
            if block is not None:
                recorded.shards[shard].reveal(block)
                log.append(shard, block)

    def advance(self, log: EventLog, now_unix: float) -> None:
        """Generate the blocks of every second that has begun."""
        while self._next_second <= now_unix:
            self._owed += self._rate
            blocks = self._simulation.tick(self._next_second, self._owed, joined=0.0)
            self._owed -= sum(len(raws) for _, raws in blocks)
            if self._record is not None:
                self._record.append([raw for _, raws in blocks for raw in raws])
            for shard, raws in blocks:
                height = self._simulation.heights[shard] - 1
                log.append(shard, block_of(height, range(height << 14, (height << 14) + len(raws)), raws))
            self._next_second += 1
