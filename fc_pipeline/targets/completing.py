"""That somebody completes new targets just now: noted in Postgres, for as long as that process lives."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from fc_pipeline.targets.recompute import LOCK_SPACE

__all__ = ["completing", "is_being_completed"]

_COMPLETING: Final = 1
_KEY: Final = f"{LOCK_SPACE}, {_COMPLETING}"
_TAKE: Final = sa.text(f"SELECT pg_advisory_lock_shared({_KEY})")
_LEAVE: Final = sa.text(f"SELECT pg_advisory_unlock_shared({_KEY})")
_IS_TAKEN: Final = sa.text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    f"AND classid = {LOCK_SPACE} AND objid = {_COMPLETING} "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


@contextmanager
def completing(engine: sa.Engine) -> Generator[None]:
    """Say so meanwhile; several may, and hinder each other as little as they harm."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(_TAKE)
        try:
            yield
        finally:
            connection.execute(_LEAVE)


def is_being_completed(connection: sa.Connection) -> bool:
    """Whether a living process completes targets."""
    return bool(connection.scalar(_IS_TAKEN))
