"""Marks in Postgres that a process is completing new targets, while that process lives."""

from contextlib import AbstractContextManager

import sqlalchemy as sa

from fc_pipeline.store import advisory_locks
from fc_pipeline.store.advisory_locks import COMPLETING_TARGETS

__all__ = ["completing", "is_being_completed"]


def completing(engine: sa.Engine) -> AbstractContextManager[None]:
    """Mark it while the block runs; several processes may."""
    return advisory_locks.shared(engine, COMPLETING_TARGETS)


def is_being_completed(connection: sa.Connection) -> bool:
    """Whether a live process is completing targets."""
    return advisory_locks.is_held(connection, COMPLETING_TARGETS)
