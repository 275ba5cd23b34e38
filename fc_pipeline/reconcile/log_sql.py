"""The SQL that compares the tables with the rows expected from the raw log, and corrects them.

A row of the table is right if the event that decided it says so, or if it was decided by something that was not
compared: an event of other heights, or a snapshot, whose version is the last id that a height can have.
"""

from functools import cache
from typing import Final

from fc_pipeline.hub.wire import FIRST_SHARD
from fc_pipeline.store import touched_fids
from fc_pipeline.tables.columns import ColumnType, DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS
from fc_pipeline.targets.rule import NOT_TARGET

__all__ = [
    "ADD_BOUNDS",
    "ANALYZE_RANGES",
    "CREATE_STAGING",
    "EMPTY_FID_SHARDS",
    "MASK_EXPECTED_LINKS",
    "candidate_fids",
    "candidates",
    "compare",
    "correct",
    "count_by_hour",
    "count_candidates",
    "create_staging",
    "differs",
    "expected_name",
    "find_invented",
    "same_key",
]

CREATE_STAGING: Final = (
    "CREATE TEMPORARY TABLE compared_ranges (table_name text, shard integer, partition text, first_id bigint, "
    "last_id bigint)",
    # Where a shard's events begin and end by the ledger.
    "CREATE TEMPORARY TABLE shard_bounds (shard integer, origin_id bigint, top_id bigint)",
    "CREATE TEMPORARY TABLE fid_shards (fid bigint, shard integer)",
    "CREATE TEMPORARY TABLE events_in_quarantine (shard integer, event_id bigint)",
)

ADD_BOUNDS: Final = "INSERT INTO shard_bounds VALUES ($1::integer, $2::bigint, $3::bigint)"
EMPTY_FID_SHARDS: Final = "DELETE FROM fid_shards"
ANALYZE_RANGES: Final = "ANALYZE compared_ranges"

MASK_EXPECTED_LINKS: Final = (
    "UPDATE expected_links AS e SET deleted_reason = 'compacted', deleted_at = m.compacted_at FROM ("
    "SELECT l.fid, l.type, l.target_fid, min(c.compacted_at) AS compacted_at FROM expected_links AS l "
    "JOIN pipeline.link_compactions AS c ON c.fid = l.fid AND c.version > l.version AND c.timestamp >= l.timestamp "
    "AND (c.type = l.type OR NOT c.scoped) AND l.target_fid <> ALL (c.target_fids) WHERE l.deleted_at IS NULL "
    "GROUP BY l.fid, l.type, l.target_fid) AS m "
    "WHERE m.fid = e.fid AND m.type = e.type AND m.target_fid = e.target_fid"
)
"""Apply every known compact state, as the fold does."""


def expected_name(table: DataTable) -> str:
    """The temporary table of the expected rows."""
    return f"expected_{table.name}"


@cache
def create_staging(table: DataTable) -> tuple[str, ...]:
    """Created once per connection: expected rows, rows without an explanation so far, and wrong rows."""
    columns = ", ".join(f"{c.name} {c.type.staging}" for c in table.columns)
    shard = "" if table.says_its_shard else ", shard integer"
    key = ", ".join(f"{c.name} {c.type.staging}" for c in table.columns if c.name in table.key)
    return (
        f"CREATE TEMPORARY TABLE {expected_name(table)} ({columns}{shard}, wanted boolean)",
        f"CREATE TEMPORARY TABLE candidate_{table.name} ({key}, about_fid bigint, version bigint)",
        f"CREATE TEMPORARY TABLE wrong_{table.name} ({key}, kind text, at_version bigint, of_shard integer)",
    )


def candidate_fids(table: DataTable) -> str:
    """The users of the rows that nothing explains so far."""
    return f"SELECT DISTINCT about_fid FROM candidate_{table.name} WHERE about_fid > 0"


def count_candidates(table: DataTable) -> str:
    """How many rows nothing explains so far."""
    return f"SELECT count(*) FROM candidate_{table.name}"


def _is_snapshots(version: str) -> str:
    return f"({version} & 16383) = 16383"


def same_key(table: DataTable, ours: str, theirs: str) -> str:
    """Whether rows of these two names have the same key."""
    return " AND ".join(f"{ours}.{name} = {theirs}.{name}" for name in table.key)


def _keys(table: DataTable, source: str) -> str:
    return ", ".join(f"{source}.{name}" for name in table.key)


def differs(table: DataTable, *, but: tuple[str, ...] = ()) -> str:
    """Whether row `t` of the table and row `e` of what is expected differ beyond their key and `but`."""
    names = [c for c in table.columns if c.name not in {*table.key, *but}]
    # A block that an older release did not note is no wrong one.
    ours = ", ".join("coalesce(t.block_time, e.block_time)" if c.name == "block_time" else f"t.{c.name}" for c in names)
    theirs = ", ".join(c.value_of("e") for c in names)
    return f"({ours}) IS DISTINCT FROM ({theirs})"


def _was_compared(table: DataTable, version: str, shard: str) -> str:
    """Whether an event of this id on this shard would be among those compared, or can be none at all."""
    return (
        f"(EXISTS (SELECT FROM compared_ranges AS g WHERE g.table_name = '{table.name}' AND g.shard = {shard} "
        f"AND {version} BETWEEN g.first_id AND g.last_id) "
        f"OR EXISTS (SELECT FROM shard_bounds AS b WHERE b.shard = {shard} "
        f"AND ({version} < b.origin_id OR {version} > b.top_id)))"
    )


def _is_quarantined(version: str) -> str:
    """Whether the event of this id is in quarantine: what a release that understood it has written is not compared."""
    return f"EXISTS (SELECT FROM events_in_quarantine AS q WHERE q.event_id = {version})"


def _was_compared_anywhere(table: DataTable, version: str) -> str:
    """The same if the shard is unknown: for all shards."""
    return f"NOT EXISTS (SELECT FROM shard_bounds AS s WHERE NOT {_was_compared(table, version, 's.shard')})"


@cache
def compare(table: DataTable) -> str:
    """Stage every expected row that is missing or different in the table."""
    if table is FID_ACTIVITY:
        verdict = f"e.wanted AND (t.version IS NULL OR {differs(table)})"
    elif table is USERNAME_PROOFS:
        verdict = _verdict_of_proofs()
    else:
        verdict = _verdict(table)
    return (
        f"INSERT INTO wrong_{table.name} SELECT {_keys(table, 'e')}, "
        "CASE WHEN t.version IS NULL THEN 'missing' ELSE 'changed' END, e.version, e.shard "
        f"FROM {expected_name(table)} AS e LEFT JOIN LATERAL (SELECT * FROM {table.qualified} AS r "
        f"WHERE {same_key(table, 'r', 'e')} OFFSET 0) AS t ON true WHERE {verdict}"
    )


def _verdict(table: DataTable) -> str:
    compared = _was_compared(table, "t.version", "e.shard")
    if table is ON_CHAIN_EVENTS:  # contract events of no FID may come from any shard
        compared = f"CASE WHEN e.fid > 0 THEN {compared} ELSE {_was_compared_anywhere(table, 't.version')} END"
    return (
        "CASE WHEN t.version IS NULL THEN e.wanted "
        f"WHEN t.version = e.version THEN {differs(table)} "
        f"WHEN t.version < e.version THEN e.wanted AND NOT ({_is_snapshots('t.version')} "
        f"AND NOT {differs(table, but=('version', 'block_time'))}) "
        f"ELSE NOT {_is_snapshots('t.version')} AND {compared} AND NOT {_is_quarantined('t.version')} END"
    )


def _verdict_of_proofs() -> str:
    """Between proofs their times decide; of a proof of a user who is no target, only the time may be kept."""
    ours, theirs = "(t.timestamp, t.precedence, t.version)", "(e.timestamp, e.precedence, e.version)"
    return (
        "CASE WHEN t.version IS NULL THEN e.wanted "
        f"WHEN {ours} = {theirs} THEN {differs(USERNAME_PROOFS)} "
        f"AND NOT (NOT e.wanted AND t.deleted_reason IS NOT DISTINCT FROM '{NOT_TARGET}') "
        f"WHEN {ours} < {theirs} THEN e.wanted AND NOT {_is_snapshots('t.version')} "
        "AND t.deleted_reason IS DISTINCT FROM 'reconciled' "
        f"ELSE NOT {_is_snapshots('t.version')} AND t.deleted_reason IS DISTINCT FROM 'reconciled' "
        f"AND {_was_compared_anywhere(USERNAME_PROOFS, 't.version')} AND NOT {_is_quarantined('t.version')} END"
    )


@cache
def candidates(table: DataTable) -> str:
    """Rows whose version lies in `$1`…`$2`, is no snapshot's, and of whose key no event was compared."""
    about = "t.fid" if "fid" in table.names else "NULL::bigint"
    return (
        f"INSERT INTO candidate_{table.name} SELECT {_keys(table, 't')}, {about}, t.version "
        f"FROM {table.qualified} AS t WHERE t.version BETWEEN $1::bigint AND $2::bigint "
        f"AND NOT {_is_snapshots('t.version')} "
        f"AND NOT EXISTS (SELECT FROM {expected_name(table)} AS e WHERE {same_key(table, 'e', 't')})"
    )


@cache
def find_invented(table: DataTable) -> str:
    """Of the candidates those that no event can have made. Of `fid_activity`, rows of a counted hour without a count.

    `fid_shards` says where an FID's events are; where neither it nor the row does, an event of any shard might explain
    the row.
    """
    if table is FID_ACTIVITY:
        return (
            f"INSERT INTO wrong_fid_activity SELECT t.hour, t.fid, 'invented', t.version, NULL FROM {table.qualified} "
            "AS t WHERE t.hour = ANY "
            "(SELECT to_timestamp(unix) FROM unnest(string_to_array($1, ',')::bigint[]) AS unix) "
            "AND NOT EXISTS (SELECT FROM expected_fid_activity AS e WHERE e.hour = t.hour AND e.fid = t.fid)"
        )
    anywhere = _was_compared_anywhere(table, "c.version")
    shard = "c.shard" if table.says_its_shard else str(FIRST_SHARD) if table.is_of_one_shard else "f.shard"
    known = _was_compared(table, "c.version", shard)
    # A name's proof may be of any shard, without saying which.
    verdict = f"CASE WHEN f.shard IS NULL THEN {anywhere} ELSE {known} END"
    if table is USERNAME_PROOFS:
        verdict = anywhere
    elif table.is_of_one_shard or table.says_its_shard:
        verdict = known
    return (
        f"INSERT INTO wrong_{table.name} SELECT {_keys(table, 'c')}, 'invented', c.version, {shard} "
        f"FROM (SELECT DISTINCT * FROM candidate_{table.name}) AS c LEFT JOIN fid_shards AS f ON f.fid = c.about_fid "
        f"WHERE {verdict} AND NOT {_is_quarantined('c.version')}"
    )


@cache
def count_by_hour(table: DataTable) -> str:
    """Wrong rows by hour (null: of no hour) and kind, with one of their keys as JSON."""
    key = (
        "jsonb_build_object("
        + ", ".join(
            f"'{c.name}', " + (f"'0x' || encode(w.{c.name}, 'hex')" if c.type is ColumnType.BYTEA else f"w.{c.name}")
            for c in table.columns
            if c.name in table.key
        )
        + ")::text"
    )
    hour = (
        "to_char(w.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD-HH24:00')"
        if table is FID_ACTIVITY
        # An id that is not of the row's own shard may be another's: such rows are repaired with that hour.
        else "(SELECT g.partition FROM compared_ranges AS g WHERE w.at_version BETWEEN g.first_id AND g.last_id "
        "ORDER BY g.shard IS NOT DISTINCT FROM w.of_shard DESC, g.partition DESC LIMIT 1)"
    )
    return (
        f"SELECT hour, kind, count(*), min(example) FROM (SELECT {hour} AS hour, w.kind, {key} AS example "
        f"FROM wrong_{table.name} AS w) AS by_hour GROUP BY hour, kind ORDER BY hour DESC NULLS LAST, kind"
    )


@cache
def note_wrong_fids(table: DataTable) -> str:
    """Before they are corrected: note the FIDs of wrong rows, for their digests."""
    sources = (table.qualified, expected_name(table))
    wrong = (
        f"SELECT r.fid FROM {source} AS r JOIN wrong_{table.name} AS w ON {same_key(table, 'r', 'w')}"
        for source in sources
    )
    return touched_fids.note_everywhere(" UNION ".join(wrong))


@cache
def correct(table: DataTable) -> tuple[str, ...]:
    """Correct wrong rows, and delete those without an explanation; each returns how many it wrote."""
    delete = (
        f"WITH gone AS (DELETE FROM {table.qualified} AS t USING wrong_{table.name} AS w "
        f"WHERE {same_key(table, 't', 'w')} AND w.kind = 'invented' RETURNING 1) SELECT count(*) FROM gone"
    )
    names = ", ".join(table.names)
    values = ", ".join(column.value_of("e") for column in table.columns)
    assigned = ", ".join(f"{name} = excluded.{name}" for name in table.names if name not in table.key)
    write = (
        f"WITH written AS (INSERT INTO {table.qualified} ({names}) SELECT {values} FROM {expected_name(table)} AS e "
        f"JOIN wrong_{table.name} AS w ON {same_key(table, 'e', 'w')} AND w.kind <> 'invented' "
        f"ORDER BY {_keys(table, 'e')} ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {assigned} RETURNING 1) "
        "SELECT count(*) FROM written"
    )
    return (delete, write)
