"""The names that the tables say an FID holds: asked for by name where a hub's list of its proofs leaves them out."""

from collections import defaultdict
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = ["held_names"]


def held_names(engine: sa.Engine, fids: Collection[int]) -> Mapping[int, frozenset[str]]:
    """Per FID the names of its live rows in `username_proofs`; an FID without one is absent."""
    columns = USERNAME_PROOFS.sql.c
    query = sa.select(columns.fid, columns.name).where(columns.fid.in_(fids), columns.deleted_at.is_(None))
    found: defaultdict[int, set[str]] = defaultdict(set)
    with engine.connect() as connection:
        for fid, name in connection.execute(query):
            found[fid].add(name)
    return {fid: frozenset(names) for fid, names in found.items()}
