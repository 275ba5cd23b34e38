"""The watch: look every twenty seconds, keep what was found, tell what has turned.

What is to be told is kept before it is sent, and struck out when an address has accepted it: a watcher that is killed
forgets nothing, and repeats at most the message that it was just sending.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Final

import msgspec

from fc_pipeline.alerts.addresses import Address
from fc_pipeline.alerts.condition import Condition, Reading, Severity, merged
from fc_pipeline.alerts.memory_file import MemoryFile
from fc_pipeline.alerts.message import compose
from fc_pipeline.alerts.processes import UP_GONE
from fc_pipeline.alerts.turns import Memory, Turn, advance
from fc_pipeline.causes import cause_of
from fc_pipeline.config.quiet_hours import QuietHours
from fc_pipeline.plain_text import one_line

__all__ = ["LOOK_SECONDS", "Source", "Watch"]

LOOK_SECONDS: Final = 20.0
_UNREADABLE_SECONDS: Final = 120.0
_LONGEST_PAUSE_SECONDS: Final = 600.0
"""The longest between two attempts at an address that accepts nothing."""
_LAST_WORDS_SECONDS: Final = 900.0
"""How long a watcher without its `up` goes on trying to say so."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Something to look at: its name in messages, the areas of its conditions, and how to read it.

    `is_gate` is Postgres: while it does not answer, what `needs_postgres` is not read.
    """

    name: str
    areas: frozenset[str]
    read: Callable[[], Reading]
    needs_postgres: bool = False
    is_gate: bool = False

    @property
    def unread(self) -> Reading:
        """What is known where it is not looked at."""
        return Reading(unread=self.areas | {self.own_area})

    @property
    def own_area(self) -> str:
        """The area of the condition that it cannot be read."""
        return f"watch of {self.name}"


@dataclass
class _Pause:
    """Of an address that accepts nothing: it is tried again at growing intervals."""

    until_unix: float
    seconds: float


@dataclass
class Watch:
    """Reads the sources and tells the addresses; `place` says in each message which replica it is of."""

    sources: Sequence[Source]
    addresses: Sequence[Address]
    file: MemoryFile
    place: str
    quiet_hours: QuietHours | None = None
    clock: Callable[[], float] = time.time
    _pauses: dict[str, _Pause] = field(default_factory=dict[str, _Pause])

    def run(self, stop: Event, *, ends_with_up: bool) -> None:
        """Look until `stop` is set; with `ends_with_up`, until it has been told that `up` is gone."""
        gone_since: float | None = None
        _log.info("watch_begins addresses=%s", [address.name for address in self.addresses])
        while not stop.is_set():
            memory = self.look(self.sources)
            if ends_with_up and UP_GONE in memory.standing:
                gone_since = gone_since or self.clock()
                if not memory.turns or self.clock() - gone_since > _LAST_WORDS_SECONDS:
                    _log.info("watch_ended: up is gone")
                    return
            stop.wait(LOOK_SECONDS)
        # `up` may end because something failed, and ends this process, too.
        self.look([source for source in self.sources if "up" in source.areas])

    def look(self, sources: Sequence[Source]) -> Memory:
        """One look at these sources, and telling what is to be told; returns what is known after it."""
        reading = self._read(sources)
        now = self.clock()
        is_quiet = self.quiet_hours is not None and self.quiet_hours.cover(datetime.fromtimestamp(now, UTC))
        before = self.file.read()
        memory = advance(before, reading, now, [address.key for address in self.addresses], is_quiet=is_quiet)
        if memory != before:
            self.file.write(memory)
        for address in self.addresses:
            memory = self._tell(address, memory, now)
        return memory

    def _read(self, sources: Sequence[Source]) -> Reading:
        found = [source.unread for source in self.sources if source not in sources]
        is_postgres_silent = False
        for source in sorted(sources, key=lambda one: not one.is_gate):
            if source.needs_postgres and is_postgres_silent:
                found.append(source.unread)
                continue
            reading = _read(source)
            is_postgres_silent = is_postgres_silent or (source.is_gate and bool(reading.conditions))
            found.append(reading)
        return merged(found)

    def _tell(self, address: Address, memory: Memory, now: float) -> Memory:
        """Send an address all that waits for it as one message, and strike that out where it is accepted."""
        turns = [turn for turn in memory.turns if address.key in turn.waiting]
        pause = self._pauses.get(address.key)
        if not turns or (pause is not None and now < pause.until_unix):
            return memory
        refusal = address.send(compose(turns, self.place))
        if refusal is not None:
            seconds = LOOK_SECONDS if pause is None else min(2 * pause.seconds, _LONGEST_PAUSE_SECONDS)
            self._pauses[address.key] = _Pause(now + seconds - LOOK_SECONDS / 2, seconds)
            _log.warning("alert_not_accepted address=%r reason=%r turns=%d", address.name, refusal, len(turns))
            return memory
        self._pauses.pop(address.key, None)
        told = Memory(memory.standing, tuple(_without(turn, address.key) for turn in memory.turns))
        told = Memory(told.standing, tuple(turn for turn in told.turns if turn.waiting))
        self.file.write(told)
        _log.info("alert_sent address=%r turns=%d", address.name, len(turns))
        return told


def _without(turn: Turn, address: str) -> Turn:
    return msgspec.structs.replace(turn, waiting=turn.waiting - {address})


def _read(source: Source) -> Reading:
    """One source; that it cannot be read is a condition of its own."""
    try:
        return source.read()
    except Exception as error:  # of Dagster, a driver or the system: the other sources are looked at all the same
        cause = cause_of(error)
        _log.warning("cannot_look source=%r reason=%r", source.name, one_line(cause.message))
        condition = Condition(
            f"{source.own_area}:fails",
            Severity.YELLOW,
            f"the watcher cannot look at {source.name}",
            detail=cause.message,
            remedy=cause.hint or "",
            after_seconds=_UNREADABLE_SECONDS,
        )
        return Reading((condition,), source.areas)
