"""Logs for the sample hub, made by hand of blocks at chosen heights and times."""

from collections.abc import Iterable, Sequence

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline_tests.support.events import HOUR_UNIX, Event, block, cast_add, merge, raw

Place = tuple[int, int]
"""A block's height and unix seconds."""


def casts_at(places: Iterable[Place], shard: int = 1, per_block: int = 1) -> list[bytes]:
    """Blocks with some casts each."""
    lines: list[bytes] = []
    for height, unix in places:
        events: Sequence[Event] = [merge(cast_add(shard, f"{height}.{n}")) for n in range(per_block)]
        lines += block(height, events, shard, unix)
    return lines


def every_second(first_height: int, first_unix: int, blocks: int) -> list[Place]:
    return [(first_height + n, first_unix + n) for n in range(blocks)]


def unconfirmed_casts_at(heights: Iterable[int], shard: int = 1, unix_of_zero: int = HOUR_UNIX) -> list[bytes]:
    """Blocks with one cast each and without BLOCK_CONFIRMED, as older nodes had them.

    The casts claim a second per height, counted from height 0: the newest one tells the hub's age, and so what times
    are estimated for the blocks.
    """
    claims = {height: unix_of_zero + height - FARCASTER_EPOCH_UNIX for height in heights}
    return [raw(merge(cast_add(shard, f"{h}", timestamp=at)), h, 1, shard) for h, at in claims.items()]


def log_of(*parts: Iterable[bytes]) -> EventLog:
    return log_from_lines(line for part in parts for line in part)
