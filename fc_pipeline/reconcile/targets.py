"""The target set in a fold of snapshots: only targets are folded, and what their snapshots say may change the set."""

from typing import Final

from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.targets.set_session import TargetSetSession

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
        self._set = TargetSetSession(session, access.redis_url)

    def close(self) -> None:
        """Close the connection to Redis."""
        self._set.close()

    def synced(self) -> set[int]:
        """The staged FIDs whose history is complete: differences of others are history that was never read."""
        return {row[0] for row in self._execute(_SYNCED)}

    def hold(self, *, write: bool) -> int:
        """Lock the set until commit, and leave out users who are no targets; returns how many."""
        self._set.lock(to_change=write)
        return int(self._execute(_DROP_OTHERS)[0][0])

    def follow(self) -> None:
        """Bring the set up to date with what was written."""
        self._set.note_sign_ups()
        self._set.recompute(_CANDIDATES)

    def publish(self) -> None:
        """Publish what was committed to Redis."""
        self._set.publish()
