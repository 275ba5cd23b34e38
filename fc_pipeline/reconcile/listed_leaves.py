"""Leaves that hubs list by FID → `other_leaves`, as far as no later event decided.

Over HTTP these are CAST_REMOVEs; over gRPC all removes, compact states and lends, and what tries prove. Each list is
whole for an FID, a shard and a type, as of the snapshot: what it has is live, what it lacks is gone.
"""

from typing import Final

from fc_pipeline.fold.merging import stage_name
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.other_leaves import CAST_REMOVE_BYTE, LEND_BYTE, OTHER_LEAVES

__all__ = ["ALL_KNOWN_STAGING", "CREATE_STAGING", "DROP_NO_TARGETS", "HAS_LISTS", "LISTS_STAGING", "WRITE"]

LISTS_STAGING: Final = "stage_leaf_lists"
ALL_KNOWN_STAGING: Final = "stage_leaves_known"

CREATE_STAGING: Final = (
    # Of an FID on a shard, or without one on every shard, all leaves of a type are listed.
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {LISTS_STAGING} (fid bigint, shard integer, type_byte integer) "
    "ON COMMIT DELETE ROWS",
    # FIDs of which every leaf is listed that can be.
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {ALL_KNOWN_STAGING} (fid bigint) ON COMMIT DELETE ROWS",
)


_STAGED: Final = stage_name(OTHER_LEAVES)

HAS_LISTS: Final = f"SELECT EXISTS (SELECT FROM {LISTS_STAGING})"
"""Whether leaves of more shards than an FID's home may be written."""

DROP_NO_TARGETS: Final = (
    f"DELETE FROM {_STAGED} AS s WHERE NOT EXISTS (SELECT FROM pipeline.targets AS t WHERE t.fid = s.fid)"
)
"""Where only targets are kept: a lend's other side may be none."""

# What an FID's lists are whole of, and as of which event of the shard.
_LISTS: Final = (
    f"(SELECT p.fid, p.shard, {CAST_REMOVE_BYTE} AS type_byte, p.version, p.fetched_at "
    "FROM stage_snapshots AS p "
    # A record that became no row may be the one that seems to be missing.
    f"WHERE NOT EXISTS (SELECT FROM stage_rowless AS r WHERE r.fid = p.fid AND r.table_name = '{CASTS.name}') "
    "UNION ALL SELECT p.fid, h.shard, l.type_byte, "
    "CASE WHEN h.shard = p.shard THEN p.version ELSE h.before_id END, p.fetched_at "
    f"FROM {LISTS_STAGING} AS l JOIN stage_snapshots AS p ON p.fid = l.fid "
    "JOIN stage_heads AS h ON h.shard = l.shard OR l.shard IS NULL)"
)
_IS_OF_LIST: Final = (
    "l.fid = coalesce(s.lender_fid, s.fid) AND l.type_byte = get_byte(s.leaf, 0) "
    f"AND (l.shard = s.shard OR l.type_byte = {LEND_BYTE})"
)
_NOTED: Final = (
    ", noted AS (INSERT INTO pipeline.touched_fids (shard, fids) SELECT shard, array_agg(DISTINCT fid) FROM written "
    "GROUP BY shard) SELECT count(*) FROM written"
)
_OF_ROW: Final = ", ".join(
    {"shard": "l.shard", "version": "l.version", "deleted_at": "NULL::timestamptz"}.get(
        column.name, column.value_of("s")
    )
    for column in OTHER_LEAVES.columns
)

_LISTED: Final = (
    f"WITH written AS (INSERT INTO {OTHER_LEAVES.qualified} AS t ({', '.join(OTHER_LEAVES.names)}) "
    f"SELECT DISTINCT ON (l.shard, s.fid, s.leaf) {_OF_ROW} FROM {_STAGED} AS s JOIN {_LISTS} AS l ON {_IS_OF_LIST} "
    "ORDER BY l.shard, s.fid, s.leaf "
    "ON CONFLICT (shard, fid, leaf) DO UPDATE SET version = excluded.version, deleted_at = NULL, "
    f"{OTHER_LEAVES.stamped_again} WHERE t.deleted_at IS NOT NULL AND t.version < excluded.version "
    f"RETURNING t.shard, t.fid){_NOTED}"
)
_GONE: Final = "version = l.version, deleted_at = l.fetched_at, updated_at = now(), change_id = txid_current() "
_UNLISTED: Final = (
    f"WITH unlisted AS MATERIALIZED (SELECT t.shard, t.fid, t.leaf, t.borrower_fid, l.version, l.fetched_at "
    f"FROM {_LISTS} AS l CROSS JOIN LATERAL (SELECT * FROM {OTHER_LEAVES.qualified} AS t WHERE t.shard = l.shard "
    "AND t.fid = l.fid AND t.leaf >= set_byte('\\x00', 0, l.type_byte) "
    "AND t.leaf < set_byte('\\x00', 0, l.type_byte + 1) "
    f"AND t.deleted_at IS NULL AND t.version <= l.version OFFSET 0) AS t "
    f"WHERE (l.type_byte <> {LEND_BYTE} OR t.lender_fid = l.fid) "
    f"AND NOT EXISTS (SELECT FROM {_STAGED} AS s WHERE s.fid = t.fid AND s.leaf = t.leaf "
    f"AND (s.shard = t.shard OR l.type_byte = {LEND_BYTE}))), "
    # A lend goes for both.
    "sides AS (SELECT shard, fid, leaf, version, fetched_at FROM unlisted UNION "
    "SELECT shard, borrower_fid, leaf, version, fetched_at FROM unlisted WHERE borrower_fid IS NOT NULL), "
    f"written AS (UPDATE {OTHER_LEAVES.qualified} AS t SET {_GONE}FROM sides AS l "
    "WHERE t.shard = l.shard AND t.fid = l.fid AND t.leaf = l.leaf AND t.deleted_at IS NULL "
    f"AND t.version <= l.version RETURNING t.shard, t.fid){_NOTED}"
)

WRITE: Final = (_LISTED, _UNLISTED)
"""What the staged snapshots list is live, what they do not list is gone; whose leaves were written is noted."""
