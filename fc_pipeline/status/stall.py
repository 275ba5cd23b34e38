"""Does the replica progress while the hub does: per shard, the ledger's last commit compared with the hub's head."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from fc_pipeline.feed.survey import LIVE_WITHIN_SECONDS
from fc_pipeline.hub.clock import HubClock, NoEvents
from fc_pipeline.hub.network_time import clock_difference
from fc_pipeline.hub.probe import probe_pool
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger

__all__ = [
    "STALLED_AFTER_SECONDS",
    "ShardProgress",
    "Stall",
    "detect_stall",
    "evaluate_progress",
    "is_being_followed",
]

STALLED_AFTER_SECONDS = 60.0
"""After this many seconds without a new block or a commit, a hub or a shard counts as stalled."""


_FOLLOW_ADVICE = (
    "Is a run of micro_batches under way? If not: does the daemon run, is hub_event_sensor on, what does its newest "
    "tick say? If one is, but commits nothing: terminate it, another takes over."
)
_HUB_ADVICE = "The hub does not get a shard's blocks: see its log, or name another hub first in FC_HUB_URLS."


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """One shard at one moment; None where the hub has no block of it, or nothing of it was ever folded.

    `idle_seconds` have passed since the last commit at the cursor, `waiting_seconds` since the time of the first block
    that the hub has and the ledger lacks above the cursor (0: there is none).
    """

    shard: int
    head_height: int | None
    head_unix: int | None
    cursor_height: int | None
    idle_seconds: float | None
    waiting_seconds: float


@dataclass(frozen=True)
class Stall:
    """The stalled shards, a sentence for each; `advice` is what to do, or why all is well.

    `now_unix` is the network's time of the reading.
    """

    shards: tuple[ShardProgress, ...]
    problems: tuple[str, ...]
    advice: str
    now_unix: float = 0.0


def is_being_followed(replica: Replica) -> bool:
    """Whether something was committed at the cursor of some shard just now."""
    with replica.engine.connect() as connection:
        commits = [ledger.last_commit(connection, shard) for shard in ledger.origins(connection)]
    return any(commit is not None and commit[1] <= STALLED_AFTER_SECONDS for commit in commits)


def detect_stall(replica: Replica, *, watched_seconds: float = float("inf")) -> Stall:
    """Read the hub's heads and compare them with the ledger.

    At most `watched_seconds` count: after a start, the last commit is as old as the pause was long. Raises HubError if
    no hub answers.
    """
    shards, now = asyncio.run(_progress(replica))
    return replace(evaluate_progress(shards, now, watched_seconds), now_unix=now)


def evaluate_progress(shards: Sequence[ShardProgress], now: float, watched_seconds: float = float("inf")) -> Stall:
    """The stalled shards among these.

    A hub without blocks and a log that was recorded and has ended are as they should be: there is nothing to follow.
    """
    newest_unix = max((s.head_unix for s in shards if s.head_unix is not None), default=None)
    if newest_unix is None:
        return Stall(tuple(shards), (), "the hub has no blocks yet")
    if now - newest_unix >= LIVE_WITHIN_SECONDS:
        return Stall(tuple(shards), (), "the hub's log has ended: nothing new is to be expected")
    moving = [s.shard for s in shards if s.head_unix is not None and now - s.head_unix <= STALLED_AFTER_SECONDS]
    unfolded = [_unfolded(s, watched_seconds) for s in shards if _is_unfolded(s, watched_seconds)]
    silent = [_silent(s, moving, now) for s in shards if moving and s.shard not in moving]
    if unfolded or silent:
        advice = " ".join([_FOLLOW_ADVICE] * bool(unfolded) + [_HUB_ADVICE] * bool(silent))
    elif any(_is_unfolded(s, float("inf")) for s in shards):
        advice = f"blocks wait, but were watched for {watched_seconds:.0f} s only"
    else:
        advice = "every shard is level"
    return Stall(tuple(shards), (*unfolded, *silent), advice)


def _is_unfolded(shard: ShardProgress, watched_seconds: float) -> bool:
    return min(_idle(shard), watched_seconds, shard.waiting_seconds) > STALLED_AFTER_SECONDS


def _idle(shard: ShardProgress) -> float:
    return float("inf") if shard.idle_seconds is None else shard.idle_seconds


def _unfolded(shard: ShardProgress, watched_seconds: float) -> str:
    cursor = "nothing of it was ever folded" if shard.cursor_height is None else f"it ends at {shard.cursor_height}"
    still = min(_idle(shard), watched_seconds)
    since = "" if still == float("inf") else f" has stood still for {still:.0f} s"
    return f"shard {shard.shard}: the ledger{since} ({cursor}), while the hub went on to height {shard.head_height}."


def _silent(shard: ShardProgress, moving: Sequence[int], now: float) -> str:
    newest = "has no block" if shard.head_unix is None else f"has made no block for {now - shard.head_unix:.0f} s"
    others = ", ".join(map(str, moving))
    return f"shard {shard.shard}: the hub {newest}, while shard {others} goes on."


async def _progress(replica: Replica) -> tuple[list[ShardProgress], float]:
    """The progress of each shard, and the network's time now (unix seconds)."""
    with replica.engine.connect() as connection:
        origins = ledger.origins(connection)
        cursors = {shard: ledger.last_commit(connection, shard) for shard in origins}
    async with probe_pool(replica.hub_endpoints) as hubs:
        hubs.note_cursors({shard: cursor[0] for shard, cursor in cursors.items() if cursor is not None})
        info = await hubs.info()
        clocks = {shard: HubClock(hubs, shard) for shard in range(1, info.numShards + 1)}
        head_unix: dict[int, int] = {}
        for shard, clock in clocks.items():
            with suppress(NoEvents):
                head_unix[shard] = (await clock.head())[1]
        ahead_seconds = clock_difference(info, head_unix)
        found = [
            await _progress_of(clock, shard, origins.get(shard), cursors.get(shard), ahead_seconds)
            for shard, clock in clocks.items()
        ]
        return found, time.time() - ahead_seconds


async def _progress_of(
    clock: HubClock,
    shard: int,
    origin: ledger.ShardOrigin | None,
    cursor: tuple[int, float] | None,
    clock_ahead_seconds: float,
) -> ShardProgress:
    cursor_height, idle_seconds = cursor or (None, None)
    try:
        head_height, head_unix = await clock.head()
        if cursor_height is not None:
            first = cursor_height + 1
        else:
            first = origin.height if origin is not None else (await clock.oldest())[0]
        now = time.time() - clock_ahead_seconds
        waiting = max(0.0, now - await clock.time_of(first)) if first <= head_height else 0.0
    except NoEvents:
        return ShardProgress(shard, None, None, cursor_height, idle_seconds, 0.0)
    return ShardProgress(shard, head_height, head_unix, cursor_height, idle_seconds, waiting)
