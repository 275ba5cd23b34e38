"""Quarantine: quarantined records with reason and raw bytes, written in the transaction of their batch."""

import hashlib
from collections.abc import Sequence

import pyarrow as pa

from fc_pipeline.fold.changes import FEED, Quarantined
from fc_pipeline.fold.nul import NUL_REASON

__all__ = ["CREATE_STAGING", "EMPTY_STAGING", "IS_SET_ASIDE", "MERGE", "MERGE_OF_SNAPSHOTS", "RESOLVE", "staged"]

_DETAIL_CHARACTERS = 500

_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("event_id", pa.int64()),
        ("raw_sha256", pa.binary()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("raw", pa.binary()),
        ("source", pa.string()),
        ("fid", pa.int64()),
    ]
)

CREATE_STAGING = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS stage_quarantine (shard integer, event_id bigint, raw_sha256 bytea, "
    "reason text, detail text, raw bytea, source text, fid bigint) ON COMMIT DELETE ROWS"
)
EMPTY_STAGING = "DELETE FROM stage_quarantine"

IS_SET_ASIDE = f"q.resolved_at IS NULL AND q.source = '{FEED}' AND q.reason NOT IN ('{NUL_REASON}', 'poison_page')"
"""Of a line `q`: it is an event that was read and is in no table."""

_RESOLVED_AT = f"CASE WHEN {{reason}} = '{NUL_REASON}' THEN now() END"
"""A note needs no action: it is resolved when it is made. Anything else is open."""

MERGE = (
    "INSERT INTO pipeline.quarantine AS q (shard, event_id, raw_sha256, reason, detail, raw, source, fid, resolved_at) "
    "SELECT DISTINCT ON (shard, event_id, raw_sha256) shard, event_id, raw_sha256, reason, detail, raw, source, fid, "
    f"{_RESOLVED_AT.format(reason='reason')} "
    "FROM stage_quarantine ORDER BY shard, event_id, raw_sha256 "
    "ON CONFLICT (shard, event_id, raw_sha256) DO UPDATE SET last_seen = now(), reason = excluded.reason, "
    "detail = excluded.detail, resolved_at = excluded.resolved_at"
)
"""A repeated record keeps its first timestamp; quarantined again, it is open again."""

MERGE_OF_SNAPSHOTS = (
    "WITH seen AS (UPDATE pipeline.quarantine AS q SET last_seen = now(), reason = s.reason, detail = s.detail, "
    f"resolved_at = {_RESOLVED_AT.format(reason='s.reason')}, source = s.source, fid = s.fid "
    "FROM stage_quarantine AS s WHERE s.shard = q.shard AND s.raw_sha256 = q.raw_sha256 "
    "RETURNING s.shard, s.raw_sha256) "
    "INSERT INTO pipeline.quarantine (shard, event_id, raw_sha256, reason, detail, raw, source, fid, resolved_at) "
    "SELECT DISTINCT ON (shard, raw_sha256) shard, event_id, raw_sha256, reason, detail, raw, source, fid, "
    f"{_RESOLVED_AT.format(reason='reason')} "
    "FROM stage_quarantine AS s "
    "WHERE NOT EXISTS (SELECT FROM seen WHERE seen.shard = s.shard AND seen.raw_sha256 = s.raw_sha256) "
    "ORDER BY shard, raw_sha256, event_id"
)
"""The same for records of snapshots: they have no event, so a record is known by its bytes alone, audit after audit."""

RESOLVE = (
    "UPDATE pipeline.quarantine AS q SET resolved_at = now() FROM stage_quarantine AS s "
    "WHERE s.shard = q.shard AND s.event_id = q.event_id AND s.raw_sha256 = q.raw_sha256 AND q.resolved_at IS NULL "
    "RETURNING q.event_id"
)
"""Note that the staged records are folded, in the transaction that folds them."""


def staged(shard: int, records: Sequence[Quarantined]) -> pa.Table:
    """Quarantined records → the rows of `stage_quarantine`; the detail cut to what a person reads."""
    rows = [
        (
            shard,
            record.event_id,
            hashlib.sha256(record.raw).digest(),
            record.reason,
            _plain(record.detail),
            record.raw,
            record.source,
            record.fid,
        )
        for record in records
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(_SCHEMA)
    return pa.Table.from_arrays(
        [pa.array(values, type=column.type) for values, column in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )


def _plain(detail: str) -> str:
    """The detail as text that Postgres takes: no NUL, no lone surrogate."""
    return detail[:_DETAIL_CHARACTERS].replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode()
