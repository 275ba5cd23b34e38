"""Checks that Redis has the same set as Postgres, and corrects it."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.bookkeeping import TARGET_SET, TARGETS
from fc_pipeline.store.query import query_of
from fc_pipeline.targets import recompute
from fc_pipeline.targets.cache import RedisDown, TargetCache
from fc_pipeline.targets.membership import Membership
from fc_pipeline.targets.recompute import SetChange

__all__ = ["CacheDrift", "compare", "publish", "repair", "repair_at_start", "warm"]

log = logging.getLogger(__name__)

MAX_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class CacheDrift:
    """Both sets compared; `reachable` is False if Redis does not answer.

    Of another generation, Redis is behind, which every reader sees. Of the same one, FIDs that are `missing` in it, or
    that only it has (`extra`), are drift: micro-batches have relied on it.
    """

    reachable: bool
    targets: int
    generation: int
    cached: int = 0
    cached_generation: int | None = None
    missing: tuple[int, ...] = ()
    extra: tuple[int, ...] = ()

    @property
    def is_behind(self) -> bool:
        """Whether Redis has another generation: not yet updated, emptied, or restored from an old dump."""
        return self.reachable and self.cached_generation != self.generation

    @property
    def is_drift(self) -> bool:
        """Whether Redis is wrong although its generation is current."""
        return self.reachable and not self.is_behind and bool(self.missing or self.extra)


def compare(engine: sa.Engine, redis_url: str | None) -> CacheDrift:
    """Compare count and members, both ways, under a lock on the set; changes nothing."""
    with _held(engine) as connection, _cache(connection, redis_url) as cache:
        return _compare(connection, cache)


def repair(engine: sa.Engine, redis_url: str | None) -> CacheDrift:
    """The same, and correct Redis; returns what was found before.

    The histories of targets that it lacked are fetched again: some of their rows may have been left out.
    """
    with _held(engine) as connection, _cache(connection, redis_url) as cache:
        found = _compare(connection, cache)
        if cache is None or not (found.is_behind or found.is_drift):
            return found
        if found.is_drift:
            connection.execute(sa.update(TARGETS).where(TARGETS.c.fid.in_(found.missing)).values(synced_at=None))
            log.warning(
                "redis_drift missing=%d extra=%d such_as=%s",
                len(found.missing),
                len(found.extra),
                [*found.missing, *found.extra][:MAX_NAMED],
            )
        _fill(connection, cache, found)
        return found


def repair_at_start(engine: sa.Engine, redis_url: str | None) -> None:
    """Correct Redis once per process: its earlier content is not trusted."""
    replica = (str(engine.url), redis_url)
    if replica not in _repaired and repair(engine, redis_url).reachable:
        _repaired.add(replica)


_repaired: set[tuple[str, str | None]] = set()


def warm(engine: sa.Engine, redis_url: str | None) -> None:
    """Bring Redis up to Postgres' generation, if it has another."""
    with _held(engine) as connection, _cache(connection, redis_url) as cache:
        Membership(query_of(connection), cache).warm(_generation(connection))


def publish(engine: sa.Engine, redis_url: str | None, change: SetChange) -> None:
    """Publish a committed change to Redis and the log. If Redis cannot be reached, the next reader makes up for it."""
    if change.generation == change.base:
        return
    with engine.connect() as connection, _cache(connection, redis_url) as cache:
        Membership(query_of(connection), cache).publish(change)
    log.info(
        "targets_changed generation=%d added=%d removed=%d", change.generation, len(change.added), len(change.removed)
    )


def _compare(connection: sa.Connection, cache: TargetCache | None) -> CacheDrift:
    generation = _generation(connection)
    targets = set(connection.scalars(sa.select(TARGETS.c.fid)))
    if cache is None:
        return CacheDrift(False, len(targets), generation)
    try:
        held, members = cache.members()
    except RedisDown:
        return CacheDrift(False, len(targets), generation)
    missing, extra = tuple(sorted(targets - members)), tuple(sorted(members - targets))
    return CacheDrift(True, len(targets), generation, len(members), held, missing, extra)


def _fill(connection: sa.Connection, cache: TargetCache, found: CacheDrift) -> None:
    """Fill it whole: what changed since its generation says nothing of what was wrong in it by then."""
    try:
        if found.cached_generation is not None and found.cached_generation > found.generation:
            cache.forget(found.cached_generation)  # newer than a Postgres restored from a backup
        cache.replace(found.generation, Membership(query_of(connection), cache).everybody())
    except RedisDown:
        log.warning("redis_not_repaired: it went away meanwhile")


def _generation(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(TARGET_SET.c.generation)) or 0


@contextmanager
def _held(engine: sa.Engine) -> Generator[sa.Connection]:
    with engine.begin() as connection:
        connection.execute(sa.text(recompute.LOCK_TO_READ))
        yield connection


@contextmanager
def _cache(connection: sa.Connection, redis_url: str | None) -> Generator[TargetCache | None]:
    key = connection.scalar(sa.select(TARGET_SET.c.cache_key))
    if redis_url is None or key is None:
        yield None
        return
    cache = TargetCache(redis_url, key)
    try:
        yield cache
    finally:
        cache.close()
