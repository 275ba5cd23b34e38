"""The SQL of a micro-batch, composed once from the tables' declarations; data never becomes part of a statement."""

from functools import cache

from fc_pipeline.tables.columns import ColumnType, DataTable
from fc_pipeline.tables.fid_activity import ACTIVITY_COUNTS, FID_ACTIVITY
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS
from fc_pipeline.targets.rule import NOT_TARGET

__all__ = [
    "FREE_PLANS",
    "KEYED_PLANS",
    "add_activity",
    "create_staging",
    "mask_by_new_compactions",
    "mask_staged_links",
    "merge",
    "replace_activity",
    "stage_name",
]


def stage_name(table: DataTable) -> str:
    """The temporary table that COPY fills for `table`."""
    return f"stage_{table.name}"


def create_staging(table: DataTable) -> str:
    """Created once per connection and emptied by every commit, which costs no catalogue rows."""
    columns = ", ".join(f"{c.name} {c.type.staging}" for c in table.columns)
    return f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage_name(table)} ({columns}) ON COMMIT DELETE ROWS"


# How a merge counts what it did: xmax is 0 only for a row that was inserted.
_COUNTED = (
    "SELECT count(*) FILTER (WHERE inserted) AS inserted, "
    "count(*) FILTER (WHERE NOT inserted AND NOT dead) AS updated, "
    "count(*) FILTER (WHERE NOT inserted AND dead) AS deleted FROM merged"
)
_COUNTED_WITH_VERSIONS = _COUNTED.replace(" FROM merged", ", array_agg(version) AS versions FROM merged")
_RETURNING = "RETURNING t.xmax = 0 AS inserted, t.deleted_at IS NOT NULL AS dead"


@cache
def merge(table: DataTable) -> str:
    """Upsert the staged rows; one that is not newer by the table's order changes nothing.

    Returns the counts, and the versions of the rows that were written.
    """
    order = ", ".join(f"excluded.{name}" for name in table.order)
    current = ", ".join(f"t.{name}" for name in table.order)
    return (
        f"WITH merged AS (INSERT INTO {table.qualified} AS t ({', '.join(table.names)}) "
        f"SELECT {_selected(table)} FROM {stage_name(table)} ORDER BY {', '.join(table.key)} "
        f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {_assigned(table)} "
        f"WHERE ({order}) > ({current}){_or_newer(table, order, current)} "
        f"{_RETURNING}, t.version) {_COUNTED_WITH_VERSIONS}"
    )


def _or_newer(table: DataTable, order: str, current: str) -> str:
    """Of a name whose holder was no target the table knows no more than that: the same proof says who it is."""
    if table is not USERNAME_PROOFS:
        return ""
    return (
        f" OR (({order}) = ({current}) AND t.deleted_reason = '{NOT_TARGET}' "
        f"AND excluded.deleted_reason IS DISTINCT FROM '{NOT_TARGET}')"
    )


def _selected(table: DataTable) -> str:
    return ", ".join(f"{c.name}::jsonb" if c.type is ColumnType.JSONB else c.name for c in table.columns)


def _assigned(table: DataTable) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in table.names if name not in table.key)


@cache
def add_activity() -> str:
    """Add the staged counts: for heights that the ledger did not cover before, so that nothing counts twice."""
    sums = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in ACTIVITY_COUNTS)
    return _activity(f"{sums}, version = greatest(t.version, excluded.version)", "")


@cache
def replace_activity() -> str:
    """Set the staged counts, which are of the whole hour; rows that already have them are left alone."""
    names = ("version", *ACTIVITY_COUNTS)
    sets = ", ".join(f"{name} = excluded.{name}" for name in names)
    differs = f"({', '.join(f't.{n}' for n in names)}) IS DISTINCT FROM ({', '.join(f'excluded.{n}' for n in names)})"
    return _activity(sets, f"WHERE {differs}")


def _activity(assigned: str, where: str) -> str:
    table = FID_ACTIVITY
    return (
        f"WITH merged AS (INSERT INTO {table.qualified} AS t ({', '.join(table.names)}) "
        f"SELECT {', '.join(table.names)} FROM {stage_name(table)} ORDER BY hour, fid "
        f"ON CONFLICT (hour, fid) DO UPDATE SET {assigned} {where} {_RETURNING}) {_COUNTED}"
    )


_PLANS_OF_WHOLE_TABLES = ("hashjoin", "mergejoin", "seqscan")

KEYED_PLANS = "SELECT " + ", ".join(f"set_config('enable_{scan}', 'off', true)" for scan in _PLANS_OF_WHOLE_TABLES)
"""For the transaction: look staged rows up by index. Staging tables have no statistics, and a plan that reads a whole
table looks cheap until it has grown; the merges keep the plan of a connection's first micro-batch."""

FREE_PLANS = "SELECT " + ", ".join(f"set_config('enable_{scan}', 'on', true)" for scan in _PLANS_OF_WHOLE_TABLES)
"""For the rest of the transaction: the session's plan settings again."""

# A link is masked by a compact state that is newer than the event which decided it, was made no earlier than the link,
# is of its type (or type-blind), and does not name its target. The earliest such state decides when it was deleted, so
# that their order of arrival does not matter.
_MASKABLE = (
    "c.version > l.version AND c.timestamp >= l.timestamp AND (c.type = l.type OR NOT c.scoped) "
    "AND (l.deleted_at IS NULL OR l.deleted_reason = 'compacted')"
)
_MASK = (
    "WITH masked AS (SELECT l.fid, l.type, l.target_fid, min(c.compacted_at) AS compacted_at FROM {source} "
    "GROUP BY l.fid, l.type, l.target_fid), "
    "updated AS (UPDATE public.links AS l SET deleted_at = m.compacted_at, deleted_reason = 'compacted' "
    "FROM masked AS m WHERE l.fid = m.fid AND l.type = m.type AND l.target_fid = m.target_fid "
    "AND (l.deleted_at IS NULL OR (l.deleted_reason = 'compacted' AND l.deleted_at > m.compacted_at)) RETURNING 1) "
    "SELECT count(*) AS deleted FROM updated"
)

# OFFSET 0 keeps the order of the joins: few FIDs have compact states, so they are looked up first, by index.
mask_staged_links = _MASK.format(
    source=(
        "stage_links AS s "
        "CROSS JOIN LATERAL (SELECT * FROM pipeline.link_compactions AS c WHERE c.fid = s.fid OFFSET 0) AS c "
        "CROSS JOIN LATERAL (SELECT * FROM public.links AS l WHERE l.fid = s.fid AND l.type = s.type "
        f"AND l.target_fid = s.target_fid AND {_MASKABLE} OFFSET 0) AS l "
        "WHERE l.target_fid <> ALL (c.target_fids)"
    )
)
"""Apply every known compact state to the links of this micro-batch."""

mask_by_new_compactions = _MASK.format(
    source=(
        "stage_link_compactions AS c "
        f"CROSS JOIN LATERAL (SELECT * FROM public.links AS l WHERE l.fid = c.fid AND {_MASKABLE} OFFSET 0) AS l "
        "WHERE (c.fid, c.version, l.target_fid) NOT IN "
        "(SELECT k.fid, k.version, unnest(k.target_fids) FROM stage_link_compactions AS k)"
    )
)
"""Apply this micro-batch's compact states to all links of their FIDs."""
