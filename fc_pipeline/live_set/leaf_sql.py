"""The SQL of the live set: the leaves of staged FIDs, from the tables that have them (node-db 3.3)."""

from typing import Final

from fc_pipeline.proof.leaf_keys import (
    CONTRACT_EVENT_TYPES,
    MESSAGE_TYPE_SHIFT,
    MESSAGE_TYPES,
    TRANSACTION_HASH_BYTES,
)
from fc_pipeline.tables.registry import LEAF_TABLES

__all__ = ["ALL_FIDS", "ALL_TARGETS", "CREATE_STAGING", "EMPTY_STAGING", "LEAVES", "STAGING", "TARGETS"]

STAGING: Final = "stage_leaf_fids"
CREATE_STAGING: Final = (
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {STAGING} (shard integer, virtual_shard smallint, fid bigint, "
    "is_home boolean) ON COMMIT DELETE ROWS"
)
EMPTY_STAGING: Final = f"DELETE FROM {STAGING}"

_MESSAGE_TABLES: Final = {
    "casts": "CAST_ADD",
    "reactions": "REACTION_ADD",
    "links": "LINK_ADD",
    "verifications": "VERIFICATION_ADD_ETH_ADDRESS",
    "user_data": "USER_DATA_ADD",
}


def _type_byte(name: str) -> int:
    return MESSAGE_TYPES[name] << MESSAGE_TYPE_SHIFT


def _sql_byte(value: int) -> str:
    return f"'\\x{value:02x}'::bytea"


def _read(leaf: str, rows: str, condition: str) -> str:
    """Leaves of the staged FIDs, each looked up by index, as OFFSET 0 makes sure."""
    return (
        f"SELECT s.shard, s.fid, x.leaf FROM {STAGING} AS s "
        f"CROSS JOIN LATERAL (SELECT {leaf} AS leaf FROM {rows} AS t WHERE {condition} OFFSET 0) AS x"
    )


_OF_HOME: Final = "s.is_home AND t.fid = s.fid AND t.deleted_at IS NULL"

_CONTRACT_TYPE: Final = (
    "CASE t.type "
    + " ".join(f"WHEN '{n.lower()}' THEN {_sql_byte(v)}" for n, v in CONTRACT_EVENT_TYPES.items())
    + " END"
)
_IS_TRANSACTION: Final = f"octet_length(t.transaction_hash) = {TRANSACTION_HASH_BYTES}"

# A LINK_REMOVE is masked as a link is (fold.merging), whatever its target; a compact state goes with the next of its
# type. The earlier one may come later, so neither is ever marked.
_LINK_REMOVE, _COMPACT_STATE = (f"get_byte(t.leaf, 0) = {_type_byte(n)}" for n in ("LINK_REMOVE", "LINK_COMPACT_STATE"))
_IS_COMPACTED: Final = (
    "t.link_type IS NOT NULL AND EXISTS (SELECT FROM pipeline.link_compactions AS c WHERE c.fid = t.fid "
    f"AND c.version > t.version AND (({_COMPACT_STATE} AND c.type = t.link_type) OR ({_LINK_REMOVE} "
    "AND c.timestamp >= t.timestamp AND (c.type = t.link_type OR NOT c.scoped))))"
)

LEAVES: Final = (
    *(
        _read(f"{_sql_byte(_type_byte(kind))} || t.hash", f"public.{table}", _OF_HOME)
        for table, kind in _MESSAGE_TABLES.items()
    ),
    _read(
        f"{_CONTRACT_TYPE} || t.transaction_hash || substr(int8send(t.log_index), 5)",
        "public.on_chain_events",
        f"{_OF_HOME} AND {_IS_TRANSACTION}",
    ),
    _read(
        "t.leaf",
        "pipeline.other_leaves",
        f"t.shard = s.shard AND t.fid = s.fid AND t.deleted_at IS NULL AND NOT ({_IS_COMPACTED})",
    ),
)
"""Statements whose rows (shard, fid, leaf) together are all leaves of the staged FIDs."""

ALL_FIDS: Final = " UNION ".join(
    f"SELECT fid FROM {table}"
    for table in (*(f"public.{name}" for name in LEAF_TABLES), "pipeline.other_leaves", "pipeline.fid_digests")
)
"""Every FID that may have a leaf, or a digest."""

TARGETS: Final = "SELECT fid FROM pipeline.targets"
ALL_TARGETS: Final = f"{TARGETS} UNION SELECT fid FROM pipeline.fid_digests"
"""The same where rows of others are kept for the sake of targets only."""
