"""Keeps digests up: of users whom folds noted, and by and by of everybody, in case rows were changed by hand."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from fc_pipeline.hours import HOUR_SECONDS
from fc_pipeline.live_set.digests import DigestKeeper, Refreshed
from fc_pipeline.proof.trie import VIRTUAL_SHARDS
from fc_pipeline.replica import Replica

__all__ = ["digest_keeper", "part_of_hour", "refresh_and_examine"]

EXAMINED_LEAVES: Final = 1_000_000
"""So many leaves are read anew at a time, some 36 s: of a small replica all, of the network one virtual shard."""


@contextmanager
def digest_keeper(replica: Replica, run_id: str, shard_count: int) -> Generator[DigestKeeper]:
    """The keeper of this replica's digests. Raises PostgresError."""
    only_targets = replica.settings.targets == "set"
    with DigestKeeper(replica.settings.libpq_url(), run_id, shard_count, only_targets=only_targets) as keeper:
        yield keeper


def refresh_and_examine(
    keeper: DigestKeeper, now_unix: float | None = None, *, should_stop: Callable[[], bool] = lambda: False
) -> Refreshed:
    """Make the digests anew of FIDs that folds noted, and of a part of all, another one each hour.

    Where that part is everything, FIDs that have no digest yet are found, too. Raises PostgresError, SessionLost.
    """
    part = part_of_hour(keeper.leaves(), time.time() if now_unix is None else now_unix)
    if len(part) == VIRTUAL_SHARDS:
        return keeper.refresh(all_fids=True, should_stop=should_stop)
    return keeper.refresh_virtual_shards(part, should_stop=should_stop)


def part_of_hour(leaves: int, now_unix: float) -> range:
    """Virtual shards with about EXAMINED_LEAVES of so many leaves, one at least: hour by hour they go round all."""
    virtual_shards = VIRTUAL_SHARDS
    while virtual_shards > 1 and leaves * virtual_shards > EXAMINED_LEAVES * VIRTUAL_SHARDS:
        virtual_shards //= 2
    parts = VIRTUAL_SHARDS // virtual_shards
    first = int(now_unix // HOUR_SECONDS) % parts * virtual_shards
    return range(first, first + virtual_shards)
