"""Quarantine: records that become no row, and why, written with their raw bytes in the transaction of their batch.

It also notes records whose row lacks a U+0000, which a hub's JSON may hold (hub-api T13) and Postgres' text may not.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from fc_pipeline.tables.encoding import UnknownValue

__all__ = [
    "CREATE_STAGING",
    "EMPTY_STAGING",
    "FEED",
    "IS_OPEN_EVENT",
    "MERGE",
    "MERGE_OF_SNAPSHOTS",
    "NUL_REASON",
    "RESOLVE",
    "Quarantined",
    "has_nul",
    "nul_note",
    "reason_of",
    "staged",
    "strip_nul",
]

FEED: Final = "feed"
"""The source of a record that came as an event."""

NUL_REASON: Final = "nul_removed"
"""The reason of a note, which is resolved from the beginning, since its row is stored."""

_NUL_REMOVED: Final = "U+0000 was taken out of a text; the row is stored without it"
_NUL_ESCAPE: Final = b"\\u0000"
"""How JSON writes it; a record without these bytes has none."""
_NUL: Final = re.compile(rb"((?<!\\)(?:\\\\)*)\\u0000")

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

IS_OPEN_EVENT = f"q.resolved_at IS NULL AND q.source = '{FEED}' AND q.reason NOT IN ('{NUL_REASON}', 'poison_page')"
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


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record in quarantine: `event_id` is its own or, where that cannot be read, its predecessor's.

    Of a snapshot, `event_id` is its version, `source` the list that the record stood in, and `fid` whose that is.
    """

    event_id: int
    reason: str
    detail: str
    raw: bytes
    source: str = FEED
    fid: int | None = None

    @property
    def is_note(self) -> bool:
        """Whether its row is stored all the same."""
        return self.reason == NUL_REASON


def reason_of(error: Exception) -> str:
    """The reason of a record that was decoded, but that no table can hold, by the error raised for it."""
    return "unknown_type" if isinstance(error, UnknownValue) else "invalid"


def nul_note(event_id: int, raw: bytes, source: str = FEED, fid: int | None = None) -> Quarantined:
    """The note of a record whose row is stored without its U+0000."""
    return Quarantined(event_id, NUL_REASON, _NUL_REMOVED, raw, source, fid)


def has_nul(raw: bytes) -> bool:
    """Whether the JSON may hold an escaped U+0000."""
    # Looking for the one backslash first is many times faster, and most records have none.
    return b"\\" in raw and _NUL_ESCAPE in raw


def strip_nul(raw: bytes) -> bytes:
    """The JSON without any escaped U+0000; a backslash that is escaped itself starts none."""
    return _NUL.sub(rb"\1", raw)


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
