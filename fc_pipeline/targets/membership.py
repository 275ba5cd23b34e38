"""Which of many FIDs are targets in Postgres' current generation: from Redis, a local copy, or Postgres."""

import logging
from typing import Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from fc_pipeline.errors import ConfigError
from fc_pipeline.store.query import Query
from fc_pipeline.targets.cache import RedisDown, TargetCache
from fc_pipeline.targets.recompute import SetChange
from fc_pipeline.targets.rule import is_member

__all__ = ["LOCAL_ABOVE_TARGETS", "Membership"]

log = logging.getLogger(__name__)

LOCAL_ABOVE_TARGETS: Final = 20_000
"""A larger set is kept in this process, as a sorted array (8 bytes each), and brought up to date by what changed."""

_COUNT: Final = sa.text(
    "SELECT (SELECT count(*) FROM pipeline.targets), (SELECT count(*) FROM pipeline.target_clients)"
)
_AMONG: Final = sa.text(
    "SELECT fid FROM pipeline.targets WHERE fid = ANY (CAST(string_to_array(:fids, ',') AS bigint[]))"
)
_ALL: Final = sa.text("SELECT string_agg(int8send(fid), ''::bytea ORDER BY fid) FROM pipeline.targets")
"""One value of 8 bytes per FID: a million rows would take a hundred times the memory on their way."""
_SINCE: Final = sa.text(
    "SELECT fid, true FROM pipeline.targets WHERE generation > CAST(:since AS bigint) "
    "UNION ALL SELECT fid, false FROM pipeline.former_targets WHERE generation > CAST(:since AS bigint)"
)

Fids = npt.NDArray[np.int64]


class Membership:
    """Answers for one process; not for several threads at once.

    `query` reads in the caller's transaction, which locks the set (recompute.LOCK_TO_READ). Without a `cache`,
    everything is read from Postgres.
    """

    def __init__(self, query: Query, cache: TargetCache | None, *, local_above: int = LOCAL_ABOVE_TARGETS) -> None:
        self._query = query
        self._cache = cache
        self._local_above = local_above
        self._counted: tuple[int, int] = (-1, 0)
        self._local: tuple[int, Fids] | None = None

    def among(self, fids: Fids, generation: int) -> npt.NDArray[np.bool_]:
        """Which of these FIDs, each given once, are targets.

        Raises ConfigError where there is no target at all, though no watched app could still bring some: nothing would
        be kept.
        """
        if self._targets(generation) > self._local_above:
            return is_member(fids, self._local_copy(generation))
        found = self._ask_cache(fids, generation)
        return self._ask_postgres(fids) if found is None else found

    def warm(self, generation: int) -> None:
        """Bring Redis to this generation: by the changes since its own, or as a whole."""
        if self._cache is None:
            return
        try:
            held = self._cache.state().generation
            if held != generation:
                self._warm(self._cache, held, generation)
        except RedisDown:
            return

    def publish(self, change: SetChange) -> None:
        """Publish a committed change to Redis. If that fails, the next reader makes up for it."""
        if self._cache is None or change.generation == change.base:
            return
        try:
            self._cache.apply(change)
        except RedisDown:
            return

    def _targets(self, generation: int) -> int:
        """How many targets there are; counted once a generation."""
        if self._counted[0] != generation:
            targets, clients = self._query(_COUNT)[0]
            if not targets and not clients:
                raise ConfigError(
                    "FC_TARGETS=set, and the target set is empty: nothing at all would be kept",
                    hint="name users in FC_ROOT_FIDS or by `fc-pipeline targets add FID --root`",
                )
            if not targets:
                log.warning("no_targets: nobody has signed up through FC_CLIENT_FIDS yet")
            self._counted = (generation, int(targets))
        return self._counted[1]

    def _ask_cache(self, fids: Fids, generation: int) -> npt.NDArray[np.bool_] | None:
        if self._cache is None:
            return None
        try:
            held, found = self._cache.ask(fids)
            if held == generation:
                return found
            self._warm(self._cache, held, generation)
        except RedisDown:
            pass
        return None

    def _warm(self, cache: TargetCache, held: int | None, generation: int) -> None:
        if held is not None and held < generation:
            lines = self._query(_SINCE, since=held)
            added = tuple(fid for fid, is_target in lines if is_target)
            removed = tuple(fid for fid, is_target in lines if not is_target)
            if cache.apply(SetChange(held, generation, added, removed)):
                log.info("redis_caught_up generation=%d since=%d fids=%d", generation, held, len(lines))
                return
        if held is not None and held > generation:
            # Nobody changes the set meanwhile: it is newer than a Postgres restored from a backup.
            cache.forget(held)
        everybody = self.everybody()
        cache.replace(generation, everybody)
        log.warning("redis_warmed generation=%d targets=%d held=%s", generation, len(everybody), held)

    def _ask_postgres(self, fids: Fids) -> npt.NDArray[np.bool_]:
        found = self._query(_AMONG, fids=",".join(map(str, fids.tolist())))
        return np.isin(fids, np.array([row[0] for row in found], np.int64), assume_unique=True)

    def everybody(self) -> Fids:
        """All targets by Postgres, ascending."""
        packed = self._query(_ALL)[0][0]
        return np.frombuffer(packed or b"", np.dtype(">i8")).astype(np.int64)

    def _local_copy(self, generation: int) -> Fids:
        if self._local is None or self._local[0] > generation:
            self._local = (generation, self.everybody())
        elif self._local[0] < generation:
            since, members = self._local
            lines = self._query(_SINCE, since=since)
            removed = np.array([fid for fid, is_target in lines if not is_target], np.int64)
            added = np.array([fid for fid, is_target in lines if is_target], np.int64)
            self._local = (generation, np.union1d(np.setdiff1d(members, removed), added))
        return self._local[1]
