"""That somebody completes new targets just now: noted in Postgres, for as long as that process lives."""

from contextlib import AbstractContextManager

import sqlalchemy as sa

from fc_pipeline.store import advisory_locks
from fc_pipeline.store.advisory_locks import COMPLETING_TARGETS

__all__ = ["completing", "is_being_completed"]


def completing(engine: sa.Engine) -> AbstractContextManager[None]:
    """Say so meanwhile; several may, and hinder each other as little as they harm."""
    return advisory_locks.shared(engine, COMPLETING_TARGETS)


def is_being_completed(connection: sa.Connection) -> bool:
    """Whether a living process completes targets."""
    return advisory_locks.is_held(connection, COMPLETING_TARGETS)
