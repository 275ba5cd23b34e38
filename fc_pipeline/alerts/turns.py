"""The pure core: what was known and told before, and a reading, give what is known now and what is to be told.

An episode begins when a condition is first read, and ends when its area is read without it. Of each is told that it
began, that it became red where it was told as yellow, and that it is over. What is not due yet, because it has not
stood long enough or because hours are quiet, is told when it is, and not at all where it is over before.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from fc_pipeline.alerts.condition import Condition, Reading, Severity, area_of

__all__ = ["MAX_WAITING_SECONDS", "Memory", "Standing", "Turn", "advance"]

MAX_WAITING_SECONDS: Final = 86_400.0
"""What an address has not accepted in so long is told it no more."""


class Standing(msgspec.Struct, frozen=True):
    """An episode: since when (unix seconds), when it was over, and the worst that was told of it."""

    condition: Condition
    since_unix: float
    told: Severity | None = None
    over_unix: float | None = None


class Turn(msgspec.Struct, frozen=True):
    """Something to tell: that a condition stands, or is over; and which addresses have not accepted it yet."""

    condition: Condition
    since_unix: float
    at_unix: float
    is_over: bool
    waiting: frozenset[str]


class Memory(msgspec.Struct, frozen=True):
    """Every episode by its condition's key, and what is still to be told, oldest first."""

    standing: dict[str, Standing] = msgspec.field(default_factory=dict[str, Standing])
    turns: tuple[Turn, ...] = ()


def advance(memory: Memory, reading: Reading, now_unix: float, addresses: Sequence[str], *, is_quiet: bool) -> Memory:
    """What is known after the reading. With `is_quiet`, yellow waits."""
    found = {condition.key: condition for condition in reading.conditions}
    standing: dict[str, Standing] = {}
    turns = [
        msgspec.structs.replace(turn, waiting=turn.waiting & frozenset(addresses))
        for turn in memory.turns
        if now_unix - turn.at_unix < MAX_WAITING_SECONDS
    ]
    for key in [*memory.standing, *(key for key in found if key not in memory.standing)]:
        before, condition = memory.standing.get(key), found.get(key)
        if condition is not None:
            after, is_told = _standing(before or Standing(condition, now_unix), condition, now_unix, is_quiet)
        elif before is None or area_of(key) in reading.unread:
            after, is_told = before, False
        else:
            after, is_told = _over(before, now_unix, is_quiet)
        if after is None:
            continue
        if is_told:
            is_over = after.over_unix is not None
            turns.append(Turn(after.condition, after.since_unix, now_unix, is_over, frozenset(addresses)))
        if after.over_unix is None or not is_told:
            standing[key] = after
    return Memory(standing, tuple(turn for turn in turns if turn.waiting))


def _standing(before: Standing, condition: Condition, now_unix: float, is_quiet: bool) -> tuple[Standing, bool]:
    """The episode while its condition stands, and whether that is told now."""
    stands = Standing(condition, before.since_unix, before.told)
    is_news = before.told is None or condition.severity.rank > before.told.rank
    is_due = now_unix - before.since_unix >= condition.after_seconds
    if not (is_news and is_due and _passes(condition.severity, is_quiet)):
        return stands, False
    return msgspec.structs.replace(stands, told=condition.severity), True


def _over(before: Standing, now_unix: float, is_quiet: bool) -> tuple[Standing | None, bool]:
    """The episode when its condition is gone, and whether that is told now; None where nothing was ever told of it."""
    if before.told is None:
        return None, False
    over_unix = now_unix if before.over_unix is None else before.over_unix
    return msgspec.structs.replace(before, over_unix=over_unix), _passes(before.told, is_quiet)


def _passes(severity: Severity, is_quiet: bool) -> bool:
    return severity is Severity.RED or not is_quiet
