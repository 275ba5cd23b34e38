"""The network's time: blocks carry it, and a hub reports the age of its newest block, so a wrong clock here shows."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from fc_pipeline.hub.wire import HubInfo

__all__ = ["MAX_CLOCK_SKEW_SECONDS", "clock_difference", "clock_warning"]

MAX_CLOCK_SKEW_SECONDS: Final = 120.0
"""Two nodes behind one address may differ by less, and smaller differences do no harm."""


def clock_difference(info: HubInfo, head_unix: Mapping[int, int]) -> float:
    """Seconds by which this machine's clock is ahead of the hub's, negative if behind; 0 where it does not matter.

    By the newest block's time (`head_unix`, per shard) and its age as reported by the hub (hub-api 2: `blockDelay`).
    """
    now = time.time()
    delays = {shard.shardId: shard.blockDelay for shard in info.shardInfos}
    found = [now - unix - delays[shard] for shard, unix in head_unix.items() if shard in delays]
    difference = min(found, key=abs, default=0.0)
    return difference if abs(difference) >= MAX_CLOCK_SKEW_SECONDS else 0.0


def clock_warning(ahead_seconds: float) -> str | None:
    """The warning for a wrong clock; None if it is right."""
    if not ahead_seconds:
        return None
    way = "ahead of" if ahead_seconds > 0 else "behind"
    apart = timedelta(minutes=round(abs(ahead_seconds) / 60))
    return f"this machine's clock is {apart} {way} the hub's: set the one that is wrong (hours are the network's)"
