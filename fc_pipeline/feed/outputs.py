"""What a run can write: the raw log, and the tables made from it."""

from collections.abc import Collection
from typing import Final

from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["OUTPUTS", "RAW_LOG", "with_leaves"]

RAW_LOG: Final = "hub_events"
"""The raw log's name among what a run writes; the others are tables."""
OUTPUTS: Final = (RAW_LOG, *DATA_TABLES, OTHER_LEAVES.name)
"""What every height must have been written to."""


def with_leaves(tables: Collection[str]) -> set[str]:
    """What is written with these tables: whatever they are, all leaves are; but counts alone are folded by no event."""
    return {*tables} if set(tables) <= {FID_ACTIVITY.name} else {*tables, OTHER_LEAVES.name}
