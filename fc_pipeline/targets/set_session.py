"""The target set within a writer's transactions: locked, recomputed from what is staged, published after the commit."""

from typing import Final

from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.targets import recompute
from fc_pipeline.targets.cache import TargetCache
from fc_pipeline.targets.membership import Membership
from fc_pipeline.targets.recompute import SetChange

__all__ = ["TargetSetSession"]

_CACHE_KEY: Final = "SELECT cache_key FROM pipeline.target_set"


class TargetSetSession:
    """For one session of Postgres; `change` is what the transaction does to the set, until it is published."""

    def __init__(self, session: WriterSession, redis_url: str | None) -> None:
        """Create the staging tables, and find the copy in Redis."""
        self._execute = session.execute
        for statement in recompute.CREATE_STAGING:
            session.execute(statement)
        keys = session.execute(_CACHE_KEY)
        self._cache = TargetCache(redis_url, keys[0][0]) if redis_url is not None and keys else None
        self.membership = Membership(session.query, self._cache)
        self.change: SetChange | None = None

    def close(self) -> None:
        """Close the connection to Redis."""
        if self._cache is not None:
            self._cache.close()

    def lock(self, *, to_change: bool) -> None:
        """Lock the set until commit: against changes by others, and `to_change` it also against readers."""
        self._execute(recompute.LOCK_TO_CHANGE if to_change else recompute.LOCK_TO_READ)

    def note_sign_ups(self) -> None:
        """Record the sign-ups among the staged contract events; these users become candidates."""
        self._execute(recompute.SIGN_UPS_STAGED)

    def recompute(self, *candidates: str) -> SetChange:
        """Update the set for the candidates that these statements stage; the set must be locked to change it."""
        for statement in candidates:
            self._execute(statement)
        self.change = recompute.recompute(self._execute)
        return self.change

    def publish(self) -> None:
        """Publish what was committed to Redis."""
        if self.change is not None:
            self.membership.publish(self.change)
            self.change = None
