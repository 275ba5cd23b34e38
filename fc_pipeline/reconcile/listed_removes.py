"""Removes that by-FID answers list (CAST_REMOVEs alone) → `other_leaves`, as far as no later event decided."""

from typing import Final

from fc_pipeline.fold.merging import stage_name
from fc_pipeline.proof.leaf_keys import MESSAGE_TYPE_SHIFT, MESSAGE_TYPES
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES

__all__ = ["WRITE"]

_NAMES: Final = ", ".join(OTHER_LEAVES.names)
_STAGED: Final = stage_name(OTHER_LEAVES)
_CAST_REMOVE: Final = MESSAGE_TYPES["CAST_REMOVE"] << MESSAGE_TYPE_SHIFT

_LISTED: Final = (
    f"INSERT INTO {OTHER_LEAVES.qualified} AS t ({_NAMES}) SELECT DISTINCT ON (s.shard, s.fid, s.leaf) "
    f"{', '.join(f's.{name}' for name in OTHER_LEAVES.names)} FROM {_STAGED} AS s "
    "JOIN stage_snapshots AS p ON p.fid = s.fid ORDER BY s.shard, s.fid, s.leaf "
    "ON CONFLICT (shard, fid, leaf) DO UPDATE SET version = excluded.version, deleted_at = NULL, "
    f"{OTHER_LEAVES.stamped_again} WHERE t.deleted_at IS NOT NULL AND t.version < excluded.version"
)

# A record that became no row may be the one that seems to be missing.
_UNLISTED: Final = (
    f"UPDATE {OTHER_LEAVES.qualified} AS t SET version = p.version, deleted_at = p.fetched_at, updated_at = now(), "
    "change_id = txid_current() FROM stage_snapshots AS p "
    f"WHERE t.shard = p.shard AND t.fid = p.fid AND get_byte(t.leaf, 0) = {_CAST_REMOVE} AND t.deleted_at IS NULL "
    f"AND t.version <= p.version AND NOT EXISTS (SELECT FROM {_STAGED} AS s WHERE s.shard = t.shard "
    "AND s.fid = t.fid AND s.leaf = t.leaf) "
    f"AND NOT EXISTS (SELECT FROM stage_rowless AS r WHERE r.fid = t.fid AND r.table_name = '{CASTS.name}')"
)

WRITE: Final = (_LISTED, _UNLISTED)
"""What the staged snapshots list is live, what they do not list is gone."""
