"""The SQL that compares snapshots with the tables: differences are staged in `change_…`, no table is written.

A row is compared only if no event that came after the snapshot's version has decided it: its own version is not above
the snapshot's. (A version above all that the ledger has folded is no event's, and so is compared, too.) Rows are found
by FID or by key through indexes, never by reading a table through: OFFSET 0 leaves the planner no other way.
"""

from functools import cache
from typing import Final

from fc_pipeline.fold.merging import stage_name
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = [
    "COMPARED",
    "CREATE_STAGING",
    "DROP_OUTDATED",
    "IS_DIFFERENCE",
    "change_name",
    "compare",
    "content",
    "create_changes",
    "differs",
    "is_comparable",
    "keep_newest",
]

COMPARED: Final = tuple(table for table in ALL_TABLES.values() if table.comparison is not Comparison.NONE)
"""The tables that snapshots cover, in the order of comparison: derived ones after their sources."""

CREATE_STAGING: Final = (
    # The FIDs of a fold.
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_snapshots (fid bigint, shard integer, version bigint, "
    "until_id bigint, fetched_at timestamptz) ON COMMIT DELETE ROWS",
    # Per shard: what the snapshots have for certain, and what the ledger has.
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_heads (shard integer, before_id bigint, top_id bigint) "
    "ON COMMIT DELETE ROWS",
    # Tables and FIDs of which every difference is drift.
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_comparable (fid bigint, table_name text) ON COMMIT DELETE ROWS",
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_names_asked (fid bigint, name text) ON COMMIT DELETE ROWS",
    # FIDs whose gasless keys were listed, all of them.
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_keys_read (fid bigint) ON COMMIT DELETE ROWS",
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_rowless (fid bigint, table_name text, hash bytea) "
    "ON COMMIT DELETE ROWS",
)
"""Temporary tables beside those of the rows."""

IS_DIFFERENCE: Final = "change <> 'read'"
"""Of a change: it is more than that a key which is as it was has been read again, perhaps after its use."""

DROP_OUTDATED: Final = (
    "WITH outdated AS (DELETE FROM stage_snapshots AS p USING pipeline.snapshots AS s "
    "WHERE s.fid = p.fid AND s.folded_version > p.version RETURNING 1) SELECT count(*) FROM outdated"
)
"""Leave out the snapshots of FIDs with a newer folded one; returns how many."""


def change_name(table: DataTable) -> str:
    """The temporary table of the changes to `table`."""
    return f"change_{table.name}"


def create_changes(table: DataTable) -> str:
    """Created once per connection: the expected rows, how each differs, and the version that it replaces."""
    columns = ", ".join(f"{c.name} {c.type.postgres}" for c in table.columns)
    return (
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {change_name(table)} ({columns}, about_fid bigint, change text, "
        "table_version bigint, is_drift boolean) ON COMMIT DELETE ROWS"
    )


@cache
def keep_newest(table: DataTable) -> str:
    """Keep the newest record of a key listed twice, because the list changed while it was read (hub-api 6.1, 7.1).

    A cast's remove wins over the cast. Contract events and names are settled where they are compared.
    """
    key = ", ".join(table.key)
    return (
        f"DELETE FROM {stage_name(table)} AS s USING (SELECT ctid, row_number() OVER (PARTITION BY {key} "
        f"ORDER BY (deleted_at IS NOT NULL) DESC, timestamp DESC, hash DESC) AS place FROM {stage_name(table)}) AS d "
        "WHERE s.ctid = d.ctid AND d.place > 1"
    )


@cache
def compare(table: DataTable) -> tuple[str, ...]:
    """The statements that fill the table's changes, in order; derived tables come after all others (derived_sql)."""
    match table.comparison:
        case Comparison.NAMES:
            return (_LISTED_PROOFS, _UNLISTED_PROOFS)
        case Comparison.CONTRACT_EVENTS:
            return (_listed_contract_events(), _unlisted_contract_events())
        case Comparison.KEYS:
            return (_listed_keys(), _unlisted_keys())
        case Comparison.MESSAGES:
            statements = (keep_newest(table), _message_rows(table))
            return (_MASK_LINKS, *statements) if table.is_compacted else statements
        case Comparison.DERIVED | Comparison.NONE:
            return ()


_TOUCHED = (
    "EXISTS (SELECT FROM stage_heads AS h WHERE h.shard = p.shard AND t.version > p.version AND t.version <= h.top_id)"
)
"""Whether an event after the snapshot decided row `t` of the FID `p`."""


def is_comparable(table: DataTable, fid: str) -> str:
    """Whether every difference of this FID in the table is drift."""
    return f"EXISTS (SELECT FROM stage_comparable AS j WHERE j.fid = {fid} AND j.table_name = '{table.name}')"


def _is_rowless(table: DataTable, by_hash: bool) -> str:
    hash_matches = "(x.hash IS NULL OR x.hash = t.hash)" if by_hash else "true"
    return (
        f"EXISTS (SELECT FROM stage_rowless AS x WHERE x.fid = t.fid AND x.table_name = '{table.name}' "
        f"AND {hash_matches})"
    )


def _typed(table: DataTable, name: str, source: str) -> str:
    return next(c for c in table.columns if c.name == name).value_of(source)


def differs(table: DataTable, names: tuple[str, ...]) -> str:
    """Whether row `t` of the table and row `s` of what is expected differ in these columns."""
    ours = ", ".join(f"t.{name}" for name in names)
    theirs = ", ".join(_typed(table, name, "s") for name in names)
    return f"({ours}) IS DISTINCT FROM ({theirs})"


def content(table: DataTable) -> tuple[str, ...]:
    """The columns that say what a live row is: all but key, version and block, and how it was deleted."""
    left_out = {*table.key, "version", "block_time", "deleted_at", "deleted_reason"}
    return tuple(name for name in table.names if name not in left_out)


# A link masked by a compact state newer than the snapshot is deleted, whatever the snapshot says.
_MASK_LINKS = (
    "UPDATE stage_links AS s SET deleted_reason = 'compacted', deleted_at = m.compacted_at FROM ("
    "SELECT l.fid, l.type, l.target_fid, min(c.compacted_at) AS compacted_at FROM stage_links AS l "
    "JOIN stage_snapshots AS p ON p.fid = l.fid JOIN pipeline.link_compactions AS c "
    "ON c.fid = l.fid AND c.version > p.version AND c.timestamp >= l.timestamp AND (c.type = l.type OR NOT c.scoped) "
    "AND l.target_fid <> ALL (c.target_fids) GROUP BY l.fid, l.type, l.target_fid) AS m "
    "WHERE m.fid = s.fid AND m.type = s.type AND m.target_fid = s.target_fid"
)


def _message_rows(table: DataTable) -> str:
    """Full join of snapshot and table, for tables whose rows never change their FID."""
    same_key = " AND ".join(f"s.{name} = t.{name}" for name in table.key)
    columns: list[str] = []
    for name in table.names:
        if name in table.key:
            columns.append(f"coalesce(s.{name}, t.{name})")
        elif name == "version":
            columns.append("p.version")
        elif name == "deleted_reason":
            columns.append("CASE WHEN s.fid IS NULL THEN 'reconciled' ELSE s.deleted_reason END")
        elif name == "deleted_at":
            columns.append("CASE WHEN s.fid IS NULL THEN p.fetched_at ELSE s.deleted_at END")
        elif name == "block_time":  # an answer does not say: known of a message that stays the same
            columns.append("CASE WHEN s.hash = t.hash THEN t.block_time END")
        else:
            columns.append(_typed(table, name, "s"))
    return (
        f"INSERT INTO {change_name(table)} SELECT {', '.join(columns)}, p.fid, "
        "CASE WHEN t.fid IS NULL OR t.deleted_at IS NOT NULL THEN 'missing' "
        "WHEN s.fid IS NULL OR s.deleted_at IS NOT NULL THEN 'phantom' ELSE 'different' END, t.version, "
        f"s.deleted_reason IS DISTINCT FROM 'compacted' AND {is_comparable(table, 'p.fid')} "
        f"FROM {stage_name(table)} AS s FULL JOIN (SELECT r.* FROM stage_snapshots AS p CROSS JOIN LATERAL "
        f"(SELECT * FROM {table.qualified} WHERE fid = p.fid OFFSET 0) AS r) AS t ON {same_key} "
        "JOIN stage_snapshots AS p ON p.fid = coalesce(s.fid, t.fid) "
        "WHERE CASE WHEN t.fid IS NULL THEN s.deleted_reason IS DISTINCT FROM 'compacted' "
        f"WHEN {_TOUCHED} THEN false "
        f"WHEN s.fid IS NULL THEN t.deleted_at IS NULL AND NOT {_is_rowless(table, by_hash=True)} "
        "WHEN s.deleted_at IS NOT NULL THEN t.deleted_at IS NULL "
        f"ELSE t.deleted_at IS NOT NULL OR {differs(table, content(table))} END"
    )


# A name's row may pass from one FID to another, of any shard, and an fname's proof has an event on every shard, with
# ids that are not comparable: so time decides between FIDs, and an event is later if it can be so on any shard.
# No lock keeps other users' folds from writing meanwhile: how far the ledger goes is read by the statement that reads
# the row.
_FOLDED_ID = (
    "(coalesce((SELECT c.to_height FROM pipeline.coverage AS c WHERE c.shard = h.shard "
    f"ORDER BY c.from_height DESC LIMIT 1), -1) + 1 << {BLOCK_SEQUENCE_BITS}) - 1"
)
_TOUCHED_ANYWHERE = f"EXISTS (SELECT FROM stage_heads AS h WHERE t.version > h.before_id AND t.version <= {_FOLDED_ID})"
_PROOF_NEWER = (
    "(t.timestamp > s.timestamp OR (t.timestamp = s.timestamp AND s.type = 'fname' AND t.precedence > s.precedence))"
)
# By-FID answers list no message, so the hash stays where the proof is the same (tables.username_proofs.listed).
_PROOF_SAME = "s.type <> 'fname' AND (t.timestamp = s.timestamp OR coalesce(t.signature = s.signature, false))"
_PROOF_VERSION = (
    "CASE WHEN t.version <= (SELECT max(h.top_id) FROM stage_heads AS h) THEN greatest(t.version, p.version) "
    "ELSE p.version END"
)
_PROOF_DIFFERS = (
    "(t.owner, t.timestamp, t.signature) IS DISTINCT FROM (s.owner, s.timestamp, s.signature) "
    "OR (s.type = 'fname' AND (t.hash, t.precedence) IS DISTINCT FROM (s.hash, s.precedence))"
)
_PROOFS_IN_ORDER = (
    "(name, type, fid, owner, timestamp, hash, signature, precedence, deleted_reason, version, deleted_at, "
    "about_fid, change, table_version, is_drift)"
)

_LISTED_PROOFS = (
    f"INSERT INTO change_username_proofs {_PROOFS_IN_ORDER} "
    "SELECT s.name, s.type, s.fid, s.owner, s.timestamp, "
    f"CASE WHEN {_PROOF_SAME} THEN t.hash ELSE s.hash END, s.signature, "
    f"CASE WHEN {_PROOF_SAME} THEN t.precedence ELSE s.precedence END, NULL, {_PROOF_VERSION}, NULL, p.fid, "
    "CASE WHEN t.name IS NULL OR t.deleted_at IS NOT NULL OR t.fid IS DISTINCT FROM s.fid THEN 'missing' "
    f"ELSE 'different' END, t.version, {is_comparable(USERNAME_PROOFS, 'p.fid')} "
    "FROM (SELECT DISTINCT ON (name, type) * FROM stage_username_proofs "
    "ORDER BY name, type, timestamp DESC, precedence DESC) AS s "
    "JOIN stage_snapshots AS p ON p.fid = s.fid "
    "LEFT JOIN LATERAL (SELECT * FROM public.username_proofs AS r WHERE r.name = s.name AND r.type = s.type OFFSET 0) "
    "AS t ON true "
    f"WHERE t.name IS NULL OR (NOT {_TOUCHED_ANYWHERE} AND CASE WHEN t.deleted_at IS NULL AND t.fid = s.fid "
    f"THEN {_PROOF_DIFFERS} ELSE NOT {_PROOF_NEWER} END)"
)

# A live row without an FID belongs to no user; it is checked once a round, with the contract events of no FID. An FID's
# list has one of its fnames only (hub-api T9), so one that is not listed is gone only if it was asked for by name.
_UNLISTED_PROOFS = (
    f"INSERT INTO change_username_proofs {_PROOFS_IN_ORDER} "
    "SELECT t.name, t.type, NULL, NULL, t.timestamp, t.hash, NULL, t.precedence, 'reconciled', "
    f"{_PROOF_VERSION}, p.fetched_at, p.fid, 'phantom', t.version, {is_comparable(USERNAME_PROOFS, 'p.fid')} "
    "FROM stage_snapshots AS p CROSS JOIN LATERAL (SELECT * FROM public.username_proofs WHERE fid = p.fid "
    "UNION ALL SELECT * FROM public.username_proofs WHERE p.fid = 0 AND fid IS NULL) AS t "
    f"WHERE t.deleted_at IS NULL AND NOT {_TOUCHED_ANYWHERE} "
    "AND NOT EXISTS (SELECT FROM stage_username_proofs AS s WHERE s.fid = t.fid AND s.name = t.name "
    "AND s.type = t.type) "
    "AND NOT EXISTS (SELECT FROM change_username_proofs AS c WHERE c.name = t.name AND c.type = t.type) "
    "AND (t.type <> 'fname' OR p.fid = 0 "
    "OR EXISTS (SELECT FROM stage_names_asked AS a WHERE a.fid = p.fid AND a.name = t.name)) "
    f"AND NOT {_is_rowless(USERNAME_PROOFS, by_hash=False)}"
)

# What the by-FID endpoints can be asked for: no channel_register, and signer_migrated of the contract only.
_ASKED_TYPES = (
    "t.type = ANY (CASE WHEN p.fid = 0 THEN ARRAY['signer_migrated'] "
    "ELSE ARRAY['signer', 'id_register', 'storage_rent', 'tier_purchase'] END)"
)


# Contract events of no FID (FID 0) may be on any shard.
_CONTRACT_TOUCHED = f"CASE WHEN p.fid = 0 THEN {_TOUCHED_ANYWHERE} ELSE {_TOUCHED} END"


def _same_contract_key(ours: str) -> str:
    return " AND ".join(f"{ours}.{name} = s.{name}" for name in ON_CHAIN_EVENTS.key)


def _listed_contract_events() -> str:
    """Contract events are immutable: a row of a listed event must equal it.

    A row that was assigned to another FID, perhaps of another shard, is found by its key.
    """
    key = ", ".join(ON_CHAIN_EVENTS.key)
    columns = ", ".join(
        "p.version" if name == "version" else _typed(ON_CHAIN_EVENTS, name, "s") for name in ON_CHAIN_EVENTS.names
    )
    return (
        f"INSERT INTO change_on_chain_events SELECT {columns}, p.fid, "
        "CASE WHEN t.chain_id IS NULL OR t.deleted_at IS NOT NULL OR t.fid IS DISTINCT FROM s.fid THEN 'missing' "
        f"ELSE 'different' END, t.version, {is_comparable(ON_CHAIN_EVENTS, 'p.fid')} "
        f"FROM (SELECT DISTINCT ON ({key}) * FROM stage_on_chain_events ORDER BY {key}) AS s "
        "JOIN stage_snapshots AS p ON p.fid = s.fid "
        f"LEFT JOIN LATERAL (SELECT * FROM public.on_chain_events AS r WHERE {_same_contract_key('r')} OFFSET 0) AS t "
        "ON true "
        "WHERE t.chain_id IS NULL OR t.deleted_at IS NOT NULL OR t.fid IS DISTINCT FROM s.fid "
        f"OR (NOT {_CONTRACT_TOUCHED} AND {differs(ON_CHAIN_EVENTS, content(ON_CHAIN_EVENTS))})"
    )


def _unlisted_contract_events() -> str:
    """Live rows that the hub does not list become tombstones; they keep what finds them."""
    kept = {*ON_CHAIN_EVENTS.key, "type", "fid"}
    columns = ", ".join(
        f"t.{name}" if name in kept else {"version": "p.version", "deleted_at": "p.fetched_at"}.get(name, "NULL")
        for name in ON_CHAIN_EVENTS.names
    )
    return (
        f"INSERT INTO change_on_chain_events SELECT {columns}, p.fid, 'phantom', t.version, "
        f"{is_comparable(ON_CHAIN_EVENTS, 'p.fid')} FROM stage_snapshots AS p "
        "CROSS JOIN LATERAL (SELECT * FROM public.on_chain_events WHERE fid = p.fid OFFSET 0) AS t "
        f"WHERE t.deleted_at IS NULL AND {_ASKED_TYPES} AND NOT {_CONTRACT_TOUCHED} "
        f"AND NOT EXISTS (SELECT FROM stage_on_chain_events AS s WHERE {_same_contract_key('t')}) "
        f"AND NOT {_is_rowless(ON_CHAIN_EVENTS, by_hash=False)}"
    )


# No event ever decides a gasless key's row, and none of its differences is drift. What its use moves is no difference.
_OF_ITS_USE: Final = ("last_used_at", "expires_at", "read_at")


def _listed_keys() -> str:
    """A listed key is as the hub has it, unless a later answer decided its row."""
    columns = ", ".join("p.version" if name == "version" else f"s.{name}" for name in GASLESS_KEYS.names)
    same_key = " AND ".join(f"r.{name} = s.{name}" for name in GASLESS_KEYS.key)
    told = tuple(name for name in content(GASLESS_KEYS) if name not in _OF_ITS_USE)
    return (
        f"INSERT INTO {change_name(GASLESS_KEYS)} SELECT {columns}, p.fid, CASE WHEN t.fid IS NULL THEN 'missing' "
        f"WHEN {differs(GASLESS_KEYS, told)} THEN 'different' ELSE 'read' END, t.version, false "
        f"FROM (SELECT DISTINCT ON (fid, key) * FROM {stage_name(GASLESS_KEYS)} "
        "ORDER BY fid, key, added_at DESC, last_used_at DESC) AS s JOIN stage_snapshots AS p ON p.fid = s.fid "
        f"LEFT JOIN LATERAL (SELECT * FROM {GASLESS_KEYS.qualified} AS r WHERE {same_key} OFFSET 0) AS t ON true "
        "WHERE t.fid IS NULL OR t.version <= p.version"
    )


def _unlisted_keys() -> str:
    """A key that the hub does not list any more is closed, if the hub was asked, and can be asked, for keys."""
    columns = ", ".join(
        {"version": "p.version", "removed_at": "p.fetched_at"}.get(name, f"t.{name}") for name in GASLESS_KEYS.names
    )
    return (
        f"INSERT INTO {change_name(GASLESS_KEYS)} SELECT {columns}, p.fid, 'phantom', t.version, false "
        "FROM stage_snapshots AS p "
        f"CROSS JOIN LATERAL (SELECT * FROM {GASLESS_KEYS.qualified} WHERE fid = p.fid OFFSET 0) AS t "
        "WHERE t.removed_at IS NULL AND t.version <= p.version "
        "AND EXISTS (SELECT FROM stage_keys_read AS k WHERE k.fid = p.fid) "
        f"AND NOT EXISTS (SELECT FROM {stage_name(GASLESS_KEYS)} AS s WHERE s.fid = t.fid AND s.key = t.key) "
        f"AND NOT {_is_rowless(GASLESS_KEYS, by_hash=False)}"
    )
