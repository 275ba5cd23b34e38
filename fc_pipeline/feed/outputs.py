"""What a run can write: the raw log, and the tables made from it."""

from typing import Final

from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["OUTPUTS", "RAW_LOG"]

RAW_LOG: Final = "hub_events"
"""The raw log's name among what a run writes; the others are tables."""
OUTPUTS: Final = (RAW_LOG, *DATA_TABLES, OTHER_LEAVES.name)
"""What every height must have been written to."""
