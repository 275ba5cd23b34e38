"""`embeds`: what a cast embeds, one row per place: a URL or another cast (protocol-tables 4)."""

from typing import Final

from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index
from fc_pipeline.tables.derived_table import DerivedTable

__all__ = ["CAST_EMBEDS", "EMBEDS"]

EMBEDS: Final = DataTable(
    name="embeds",
    description="Embeds of live casts, in their order; gone with their cast.",
    sql_example=(
        "SELECT url, count(*) AS casts FROM embeds\n"
        "WHERE url IS NOT NULL AND timestamp > now() - interval '1 day' GROUP BY 1 ORDER BY 2 DESC LIMIT 20;"
    ),
    key=("hash", "position"),
    columns=(
        Column("hash", ColumnType.BYTEA, "The cast", nullable=False),
        Column("position", ColumnType.INTEGER, "Place among the cast's embeds, from 0", nullable=False),
        Column("fid", ColumnType.BIGINT, "Author of the cast"),
        Column("timestamp", ColumnType.TIMESTAMP, "When the author says that the cast was made"),
        Column("url", ColumnType.TEXT, "The URL, where it is one"),
        Column("cast_fid", ColumnType.BIGINT, "Author of the embedded cast, as the embed says"),
        Column("cast_hash", ColumnType.BYTEA, "The embedded cast: a quote"),
    ),
    indexes=(
        Index(("fid",), serves="an FID's rows: repairs, targets"),
        Index(("url", "timestamp"), where="url IS NOT NULL", serves="who embeds a URL", is_made_later=True),
        Index(("cast_hash",), where="cast_hash IS NOT NULL", serves="who quotes a cast; checks of `cast_counts`"),
    ),
    is_large=True,
    # Rows are kept with their cast.
    concerns=(),
    comparison=Comparison.DERIVED,
)

_MAX_URL_BYTES: Final = 2_000
"""What an index can hold; the network allows 256."""
_CAST_ID: Final = "n.embed->'castId'"
_OF_CASTS: Final = f"""
  SELECT c.hash, (n.position - 1)::integer AS position, c.fid, c.timestamp,
    CASE WHEN octet_length(n.embed->>'url') <= {_MAX_URL_BYTES} THEN n.embed->>'url' END AS url,
    CASE WHEN {_CAST_ID}->>'fid' ~ '^[0-9]{{1,18}}$' THEN ({_CAST_ID}->>'fid')::bigint END AS cast_fid,
    CASE WHEN {_CAST_ID}->>'hash' ~ '^0x([0-9a-fA-F]{{2}})+$' THEN decode(substr({_CAST_ID}->>'hash', 3), 'hex') END
      AS cast_hash,
    c.version, c.deleted_at
  FROM {{casts}}
  CROSS JOIN LATERAL jsonb_array_elements(
    CASE WHEN jsonb_typeof(c.embeds) = 'array' AND c.embeds <> '[]' THEN c.embeds
      ELSE (SELECT coalesce(jsonb_agg(jsonb_build_object('url', d.url) ORDER BY d.place), '[]')
        FROM unnest(c.embeds_deprecated) WITH ORDINALITY AS d (url, place)) END
  ) WITH ORDINALITY AS n (embed, position)
"""
_ROWS: Final = _OF_CASTS.replace(
    "{casts}",
    "{scope} AS s CROSS JOIN LATERAL "
    "(SELECT * FROM public.casts AS r WHERE r.hash = s.hash AND r.deleted_at IS NULL OFFSET 0) AS c",
)
_ALL_ROWS: Final = _OF_CASTS.replace(
    "{casts}",
    "(SELECT * FROM public.casts AS r WHERE r.deleted_at IS NULL "
    "AND (r.embeds <> '[]' OR r.embeds_deprecated IS NOT NULL)) AS c",
)

CAST_EMBEDS: Final = DerivedTable(
    table=EMBEDS,
    scope=("hash",),
    # Most casts embed nothing. What is gone may have embedded something.
    touched={
        CASTS.name: (
            "SELECT r.hash FROM {rows} AS r "
            "WHERE r.deleted_at IS NOT NULL OR r.embeds::text <> '[]' OR r.embeds_deprecated IS NOT NULL"
        )
    },
    rows=_ROWS,
    all_rows=_ALL_ROWS,
    of_fids=(
        "SELECT c.hash FROM {fids} AS p CROSS JOIN LATERAL (SELECT hash FROM public.casts AS r WHERE r.fid = p.fid "
        "AND r.deleted_at IS NULL AND (r.embeds <> '[]' OR r.embeds_deprecated IS NOT NULL) OFFSET 0) AS c"
    ),
    lost={CASTS.name: "SELECT r.hash FROM {rows} AS r WHERE r.deleted_at IS NOT NULL"},
    kept_by="SELECT FROM public.casts AS c WHERE c.hash = t.hash AND c.deleted_at IS NULL",
)
