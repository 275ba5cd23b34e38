"""Which users' rows a transaction holds, so that folds of different users of one shard do not wait for each other.

A fold of snapshots changes rows of users that it knows beforehand, and so does a micro-batch of a live feed. Both share
the shard's lock and hold groups of users: snapshots alone, events together with those of other shards. Whoever writes
rows of many users, or of users that are not known beforehand, holds the shard alone.

The order is the same everywhere: the feed's lock, shards ascending, groups ascending. So nobody waits in a circle.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fc_pipeline.store import advisory_locks

__all__ = ["LOCK_SHARD", "MAX_GROUPS", "groups_of", "hold_for_events", "hold_for_snapshots"]

Execute = Callable[[str, tuple[Any, ...]], object]

_BUCKETS: Final = 256
"""As the lake has them: a backfill goes through the users of one after another."""
GROUP_FIDS: Final = 64
"""Users of a bucket that follow one another are a group, so that a chunk of a backfill has few."""
GROUPS: Final = 2**31
"""A group's number is a positive integer of Postgres; users whose groups share one wait for each other needlessly."""
MAX_GROUPS: Final = 128
"""A transaction that would hold more holds the shard: Postgres' table of locks has room for some thousand in all."""

LOCK_SHARD: Final = advisory_locks.shard("$1::integer").until_commit()
"""Until commit nobody else writes rows of the shard's users: what is read of them stays as it is."""
_SHARE_SHARD: Final = advisory_locks.shard("$1::integer").until_commit(shared=True)
_LOCK_FEED: Final = advisory_locks.feed("$1::integer").until_commit()
_OF_GROUPS: Final = " FROM unnest(string_to_array($1, ',')::integer[]) AS held (fid_group)"
_LOCK_GROUPS: Final = advisory_locks.fids("fid_group").until_commit() + _OF_GROUPS
_SHARE_GROUPS: Final = advisory_locks.fids("fid_group").until_commit(shared=True) + _OF_GROUPS


def groups_of(fids: npt.NDArray[np.int64]) -> list[int]:
    """The groups of these FIDs, each once and ascending."""
    groups = (fids // (_BUCKETS * GROUP_FIDS) * _BUCKETS + fids % _BUCKETS) % GROUPS
    return np.unique(groups).tolist()


def hold_for_events(execute: Execute, shard: int, fids: npt.NDArray[np.int64]) -> None:
    """Hold what a fold of a shard's events needs that writes rows of these users, until commit."""
    groups = groups_of(fids)
    if len(groups) > MAX_GROUPS:
        execute(LOCK_SHARD, (shard,))
        return
    execute(_LOCK_FEED, (shard,))
    execute(_SHARE_SHARD, (shard,))
    if groups:
        execute(_SHARE_GROUPS, (_listed(groups),))


def hold_for_snapshots(execute: Execute, shards: Collection[int], fids: npt.NDArray[np.int64]) -> None:
    """Hold what a fold of these users' snapshots needs that writes rows of these shards, until commit."""
    groups = groups_of(fids)
    has_few = len(groups) <= MAX_GROUPS
    for shard in sorted(shards):
        execute(_SHARE_SHARD if has_few else LOCK_SHARD, (shard,))
    if has_few:
        execute(_LOCK_GROUPS, (_listed(groups),))


def _listed(groups: Collection[int]) -> str:
    return ",".join(map(str, groups))
