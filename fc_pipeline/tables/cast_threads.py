"""`cast_threads`: where a live cast stands in its thread, whichever of its ancestors came first.

A chain of parents ends at a cast that replies to none, or at a parent that is not here (yet) or deleted: the highest
ancestor that is known of is the root.
"""

from typing import Final

from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index
from fc_pipeline.tables.derived_table import DerivedTable, NewRows
from fc_pipeline.tables.message import NETWORK_TIME

__all__ = ["CAST_THREADS", "THREADS"]

CAST_THREADS: Final = DataTable(
    name="cast_threads",
    description="The thread of each live cast: its root, its depth, its parent. A cast that replies to none is a root.",
    sql_example=(
        "SELECT root_hash, count(*) AS casts, max(depth) AS depth FROM cast_threads\n"
        "GROUP BY 1 ORDER BY 2 DESC LIMIT 20;"
    ),
    key=("hash",),
    columns=(
        Column("hash", ColumnType.BYTEA, "The cast", nullable=False),
        Column("fid", ColumnType.BIGINT, "Its author"),
        Column(
            "root_hash",
            ColumnType.BYTEA,
            "First cast of the thread: the cast itself, or its highest ancestor known of, which may not be here",
        ),
        Column("root_fid", ColumnType.BIGINT, "Author of the root"),
        Column("root_url", ColumnType.TEXT, "URL or channel that the root replies to; null where the root is not here"),
        Column("parent_hash", ColumnType.BYTEA, "The cast replied to"),
        Column("depth", ColumnType.INTEGER, "Replies from the root to the cast: 0 for the root"),
        Column("network_time", ColumnType.TIMESTAMP, "The cast's block_time, or its timestamp where that is not known"),
    ),
    indexes=(
        Index(
            ("root_hash", "network_time"),
            serves="a thread's casts, oldest first: `api.conversation`, `root_parent_hash` in `neynar.casts`",
        ),
        Index(
            ("root_url",),
            where="root_url IS NOT NULL",
            serves="what is said below a channel's casts",
            is_made_later=True,
        ),
    ),
    is_large=True,
    concerns=(),
    comparison=Comparison.DERIVED,
)

# Whatever replies to a cast, at any distance, may change its root with it.
_TOUCHED: Final = (
    "SELECT hash FROM (WITH RECURSIVE down AS (SELECT r.hash FROM {rows} AS r UNION SELECT k.hash FROM down AS d "
    "CROSS JOIN LATERAL (SELECT hash FROM public.casts AS c WHERE c.parent_hash = d.hash AND c.deleted_at IS NULL "
    "OFFSET 0) AS k) SELECT hash FROM down) AS touched"
)
# From the casts whose parents are not derived with them, down to all that are. OFFSET 0: each is looked up by index,
# however many there are.
_IS_SCOPE: Final = "EXISTS (SELECT FROM scope_cast_threads AS q WHERE q.hash = {hash} OFFSET 0)"
_ROWS: Final = f"""
  SELECT w.hash, w.fid, w.root_hash, w.root_fid, w.root_url, w.parent_hash, w.depth, w.network_time, w.version,
    w.deleted_at FROM (
    WITH RECURSIVE live AS MATERIALIZED (
      SELECT c.*, c.parent_hash IS NOT NULL
        AND EXISTS (SELECT FROM public.casts AS r WHERE r.hash = c.parent_hash AND r.deleted_at IS NULL OFFSET 0)
          AS has_parent, c.parent_hash IS NOT NULL AND {_IS_SCOPE.format(hash="c.parent_hash")} AS is_parent_derived
      FROM {{scope}} AS s CROSS JOIN LATERAL (
        SELECT r.hash, r.fid, r.parent_hash, r.parent_fid, r.parent_url, {NETWORK_TIME} AS network_time, r.version,
          r.deleted_at FROM public.casts AS r WHERE r.hash = s.hash AND r.deleted_at IS NULL OFFSET 0) AS c
    ), walk AS (
      SELECT l.hash, l.fid, coalesce(p.root_hash, l.parent_hash, l.hash) AS root_hash,
        CASE WHEN p.hash IS NOT NULL THEN p.root_fid WHEN l.parent_hash IS NOT NULL THEN l.parent_fid ELSE l.fid END
          AS root_fid,
        CASE WHEN p.hash IS NOT NULL THEN p.root_url WHEN l.parent_hash IS NULL THEN l.parent_url END AS root_url,
        l.parent_hash, CASE WHEN l.parent_hash IS NULL THEN 0 ELSE coalesce(p.depth, 0) + 1 END AS depth,
        l.network_time, l.version, l.deleted_at
      FROM live AS l LEFT JOIN LATERAL (SELECT t.* FROM public.cast_threads AS t
        WHERE t.hash = l.parent_hash AND l.has_parent OFFSET 0) AS p ON true
      WHERE NOT (l.has_parent AND l.is_parent_derived)
      UNION ALL
      SELECT k.hash, k.fid, w.root_hash, w.root_fid, w.root_url, k.parent_hash, w.depth + 1, k.network_time,
        k.version, k.deleted_at
      FROM walk AS w CROSS JOIN LATERAL (SELECT c.hash, c.fid, c.parent_hash, {NETWORK_TIME} AS network_time, c.version,
        c.deleted_at
        FROM public.casts AS c WHERE c.parent_hash = w.hash AND c.deleted_at IS NULL
        AND {_IS_SCOPE.format(hash="c.hash")} OFFSET 0) AS k
    ) SELECT * FROM walk
  ) AS w
"""

# A new cast that replies to no new one takes its parent's root. Where that root is a new cast itself, which was missing
# until now, it comes after this. Whatever had a new cast as its root gets the root of that.
_OF_NEW_CASTS: Final = """
  SELECT a.hash, a.fid, a.root_hash, a.root_fid, a.root_url, a.parent_hash, a.depth, a.network_time, a.version,
    NULL::timestamptz AS deleted_at FROM (
    WITH RECURSIVE linked AS MATERIALIZED (
      SELECT n.*, coalesce(t.root_hash, n.parent_hash, n.hash) AS root_hash,
        CASE WHEN t.hash IS NOT NULL THEN t.root_fid WHEN n.parent_hash IS NOT NULL THEN n.parent_fid ELSE n.fid END
          AS root_fid,
        CASE WHEN t.hash IS NOT NULL THEN t.root_url WHEN n.parent_hash IS NULL THEN n.parent_url END AS root_url,
        CASE WHEN n.parent_hash IS NULL THEN 0 ELSE coalesce(t.depth, 0) + 1 END AS depth,
        CASE WHEN p.hash IS NOT NULL THEN p.hash WHEN r.hash IS NOT NULL THEN r.hash END AS after_hash
      FROM new_casts AS n LEFT JOIN new_casts AS p ON p.hash = n.parent_hash
      LEFT JOIN LATERAL (SELECT * FROM public.cast_threads AS t
        WHERE t.hash = n.parent_hash AND p.hash IS NULL OFFSET 0) AS t ON true
      LEFT JOIN new_casts AS r ON r.hash = t.root_hash
    ), walk AS (
      SELECT hash, fid, root_hash, root_fid, root_url, parent_hash, depth, network_time, version
      FROM linked WHERE after_hash IS NULL
      UNION ALL
      SELECT k.hash, k.fid, w.root_hash, w.root_fid, w.root_url, k.parent_hash, w.depth + k.depth, k.network_time,
        k.version
      FROM walk AS w JOIN linked AS k ON k.after_hash = w.hash
    )
    SELECT * FROM walk
    UNION ALL
    SELECT b.hash, b.fid, w.root_hash, w.root_fid, w.root_url, b.parent_hash, w.depth + b.depth, b.network_time,
      b.version
    FROM walk AS w CROSS JOIN LATERAL (SELECT * FROM public.cast_threads AS t
      WHERE t.root_hash = w.hash AND t.hash <> w.hash OFFSET 0) AS b
    WHERE b.hash NOT IN (SELECT hash FROM new_casts)
  ) AS a
"""

# Level by level from the casts whose parents are not here, each level joined as a whole.
_ALL_ROWS: Final = f"""
  SELECT w.hash, w.fid, w.root_hash, w.root_fid, w.root_url, w.parent_hash, w.depth, w.network_time, w.version,
    NULL::timestamptz AS deleted_at FROM (
    WITH RECURSIVE walk AS (
      SELECT c.hash, c.fid, coalesce(c.parent_hash, c.hash) AS root_hash,
        CASE WHEN c.parent_hash IS NOT NULL THEN c.parent_fid ELSE c.fid END AS root_fid,
        CASE WHEN c.parent_hash IS NULL THEN c.parent_url END AS root_url, c.parent_hash,
        CASE WHEN c.parent_hash IS NULL THEN 0 ELSE 1 END AS depth, {NETWORK_TIME} AS network_time, c.version
      FROM public.casts AS c WHERE c.deleted_at IS NULL AND (c.parent_hash IS NULL OR NOT EXISTS
        (SELECT FROM public.casts AS p WHERE p.hash = c.parent_hash AND p.deleted_at IS NULL))
      UNION ALL
      SELECT c.hash, c.fid, w.root_hash, w.root_fid, w.root_url, c.parent_hash, w.depth + 1,
        {NETWORK_TIME} AS network_time, c.version
      FROM walk AS w JOIN public.casts AS c ON c.parent_hash = w.hash AND c.deleted_at IS NULL
    ) SELECT * FROM walk
  ) AS w
"""

THREADS: Final = DerivedTable(
    table=CAST_THREADS,
    scope=("hash",),
    touched={CASTS.name: _TOUCHED},
    rows=_ROWS,
    all_rows=_ALL_ROWS,
    of_fids=(
        "SELECT c.hash FROM {fids} AS p CROSS JOIN LATERAL (SELECT hash FROM public.casts AS r WHERE r.fid = p.fid "
        "AND r.deleted_at IS NULL OFFSET 0) AS c"
    ),
    lost={CASTS.name: "SELECT r.hash FROM {rows} AS r WHERE r.deleted_at IS NOT NULL"},
    kept_by="SELECT FROM public.casts AS c WHERE c.hash = t.hash AND c.deleted_at IS NULL",
    # A reply and its parent may be of two shards: whoever comes second has to see the first.
    one_at_a_time=True,
    looks_up_scope=True,
    new_rows=NewRows(
        name="new_casts",
        source=CASTS.name,
        columns=(
            ("hash", "bytea", "t.hash"),
            ("fid", "bigint", "t.fid"),
            ("parent_hash", "bytea", "t.parent_hash"),
            ("parent_fid", "bigint", "t.parent_fid"),
            ("parent_url", "text", "t.parent_url"),
            ("network_time", "timestamptz", NETWORK_TIME),
            ("version", "bigint", "t.version"),
        ),
        rows=_OF_NEW_CASTS,
    ),
)
