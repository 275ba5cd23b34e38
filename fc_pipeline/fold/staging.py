"""The temporary tables of a fold: which ones a micro-batch needs, and the SQL that makes them."""

from collections.abc import Collection
from typing import Final

from fc_pipeline.fold import merging
from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.store import derived
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DERIVED_TABLES, MESSAGE_TABLES

__all__ = ["ANY", "creating", "staged_by"]

_STAGED: Final = MESSAGE_TABLES | {table.name: table for table in (LINK_COMPACTIONS, OTHER_LEAVES, FID_ACTIVITY)}
ANY: Final = frozenset(_STAGED)
"""Every table that rows are staged for."""


def staged_by(batch: MicroBatch) -> set[str]:
    """The tables that a micro-batch has rows to stage for."""
    found = {*batch.rows, *batch.sources}
    if len(batch.compactions):
        found.add(LINK_COMPACTIONS.name)
    if len(batch.leaves):
        found.add(OTHER_LEAVES.name)
    if batch.activity is not None:
        found.add(FID_ACTIVITY.name)
    return found


def creating(tables: Collection[str]) -> list[str]:
    """Statements for the staging tables of these, and for the scopes of what is derived from them."""
    scopes = [one for one in DERIVED_TABLES if not set(one.sources).isdisjoint(tables)]
    new = [one.new_rows for one in scopes if one.new_rows is not None]
    return [
        *(merging.create_staging(_STAGED[name]) for name in tables),
        *map(derived.create_scope, scopes),
        *map(derived.create_new_rows, new),
    ]
