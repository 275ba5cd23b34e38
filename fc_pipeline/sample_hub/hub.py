"""What one served hub consists of: its log, how the log grows, what is wrong with it, and its clock."""

import time
from collections.abc import Callable
from typing import Literal, Protocol

from fc_pipeline.errors import ConfigError
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.sample_hub.chain import Chain
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.log import EventLog, ShardLog
from fc_pipeline.sample_hub.state import HubState

__all__ = ["Dialect", "Growth", "PoisonedAnswer", "SampleHub"]


Dialect = Literal["snapchain", "hubble"]
"""Whose API the hub speaks; a Hubble is for logs of one shard."""


class PoisonedAnswer(Exception):
    """The answer would hold a poison event: the connection is to be closed without one."""


class Growth(Protocol):
    """Live mode: what makes blocks appear as time passes."""

    def advance(self, log: EventLog, now_unix: float) -> None:
        """Make everything that is due at that time visible in the log."""
        ...


class SampleHub:
    """A log with its message sets, kept in step: whatever is visible in the log is in the sets, and nothing else."""

    def __init__(
        self,
        log: EventLog,
        *,
        growth: Growth | None = None,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
        retention_seconds: float | None = None,
        dialect: Dialect = "snapchain",
        chain: Chain | None = None,
    ) -> None:
        if dialect == "hubble" and len(log.shards) != 1:
            raise ConfigError(f"a Hubble has no shards, but the log has {len(log.shards)}", hint="give a log of one")
        self.dialect: Dialect = dialect
        self.log = log
        self.faults = faults or Faults()
        self.clock = clock
        self._growth = growth
        self._retention_seconds = retention_seconds
        self._state = HubState()
        self._chain = chain

    @property
    def shards(self) -> list[ShardLog]:
        """The hosted shards in the hub's arbitrary order."""
        return [self.log.shards[s] for s in self.log.serving_order if s not in self.faults.hidden_shards]

    @property
    def state(self) -> HubState:
        """The message sets as of the visible log."""
        self._state.follow(self.log)
        return self._state

    @property
    def chain(self) -> Chain | None:
        """The shards' tries and headers as of the visible log, where the hub keeps them."""
        if self._chain is not None:
            self._chain.follow(self.log)
        return self._chain

    def hosted(self, shard: int) -> ShardLog | None:
        """The shard's log if the hub hosts it."""
        return None if shard in self.faults.hidden_shards else self.log.shards.get(shard)

    def advance(self) -> None:
        """Let time pass: new blocks appear, and blocks beyond the retention go (hub-api 3.5)."""
        now = self.clock()
        if self._growth is not None and not self.faults.frozen:
            self._growth.advance(self.log, now)
        if self._retention_seconds is not None:
            self._forget_before(now - self._retention_seconds)
        if self._chain is not None:
            self._chain.follow(self.log)

    def _forget_before(self, unix_seconds: float) -> None:
        for shard in self.log.shards.values():
            height = shard.first_height_since(unix_seconds)
            if height is not None and shard.event_ids[0] < first_event_id(height):
                self._state.follow(self.log)
                if self._chain is not None:
                    self._chain.follow(self.log)
                shard.drop_before(first_event_id(height))

    def page(self, shard: ShardLog, from_id: int, stop_id: int | None, page_size: int, *, reverse: bool) -> list[bytes]:
        """A page of the shard's events, as bytes in the order served.

        Raises PoisonedAnswer where the page holds a poison event.
        """
        oldest = first_event_id(self.faults.oldest_height(shard.shard))
        span = shard.span(max(from_id, oldest), stop_id, page_size, reverse=reverse)
        if self.faults.poison_event_ids and any(shard.event_ids[i] in self.faults.poison_event_ids for i in span):
            raise PoisonedAnswer
        return [shard.raws[i] for i in span] if reverse else shard.raws[span.start : span.stop]

    def event(self, shard: ShardLog, event_id: int) -> bytes | None:
        """One event. Raises PoisonedAnswer for a poison one."""
        if event_id < first_event_id(self.faults.oldest_height(shard.shard)):
            return None
        raw = shard.find(event_id)
        if raw is not None and event_id in self.faults.poison_event_ids:
            raise PoisonedAnswer
        return raw
