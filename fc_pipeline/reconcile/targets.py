"""The target set in a fold of snapshots: only targets are folded, and what their snapshots say may change the set."""

from typing import Final

from fc_pipeline.fold.selection import CACHE_KEY, TargetAccess
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.targets import recompute
from fc_pipeline.targets.cache import TargetCache
from fc_pipeline.targets.membership import Membership
from fc_pipeline.targets.recompute import SetChange

__all__ = ["ReconciledTargets"]

_SYNCED: Final = (
    "SELECT t.fid FROM pipeline.targets AS t JOIN stage_snapshots AS p ON p.fid = t.fid WHERE t.synced_at IS NOT NULL"
)
_DROP_OTHERS: Final = (
    "WITH others AS (DELETE FROM stage_snapshots AS p WHERE NOT EXISTS (SELECT FROM pipeline.targets AS t "
    "WHERE t.fid = p.fid) RETURNING 1) SELECT count(*) FROM others"
)
# Corrections of a root's links may have added or removed users that it follows.
_CANDIDATES: Final = (
    "INSERT INTO stage_target_candidates SELECT l.target_fid FROM stage_snapshots AS p JOIN pipeline.targets AS t "
    "ON t.fid = p.fid AND t.reason IN ('root', 'client') JOIN public.links AS l ON l.fid = p.fid AND l.type = 'follow'"
)


class ReconciledTargets:
    """For one session, in its transactions."""

    def __init__(self, access: TargetAccess, session: WriterSession) -> None:
        self._execute = session.execute
        for statement in recompute.CREATE_STAGING:
            session.execute(statement)
        keys = session.execute(CACHE_KEY)
        url = access.redis_url
        self._cache = TargetCache(url, keys[0][0]) if url is not None and keys else None
        self._membership = Membership(session.query, self._cache)
        self._change: SetChange | None = None

    def close(self) -> None:
        """Close the connection to Redis."""
        if self._cache is not None:
            self._cache.close()

    def synced(self) -> set[int]:
        """The staged FIDs whose history is complete: differences of others are history that was never read."""
        return {row[0] for row in self._execute(_SYNCED)}

    def hold(self, *, write: bool) -> int:
        """Lock the set until commit, and leave out users who are no targets; returns how many."""
        self._execute(recompute.LOCK_TO_CHANGE if write else recompute.LOCK_TO_READ)
        return int(self._execute(_DROP_OTHERS)[0][0])

    def follow(self) -> None:
        """Bring the set up to date with what was written."""
        self._execute(recompute.SIGN_UPS_STAGED)
        self._execute(_CANDIDATES)
        self._change = recompute.recompute(self._execute)

    def publish(self) -> None:
        """Publish what was committed to Redis."""
        if self._change is not None:
            self._membership.publish(self._change)
            self._change = None
