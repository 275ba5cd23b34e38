"""Which hours of the raw log name an FID: per hour and shard the FIDs, in pages of 65,536.

Looked up for a new target, so that only hours are read that name it. What is not here yet is not known; what the ledger
covers beyond the heights that were looked through makes an hour unknown again.
"""

import zlib
from collections import defaultdict
from collections.abc import Collection
from typing import Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.hours import Hour
from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.tables.columns import METADATA

__all__ = ["NAMED_FIDS", "NAMED_HOURS", "forget", "hours_naming", "note", "packed", "unknown_hours", "unpacked"]

NAMED_HOURS = sa.Table(
    "named_hours",
    METADATA,
    sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("heights", pg.INT8MULTIRANGE, nullable=False, comment="The heights that were looked through"),
    sa.Column("fids", sa.BigInteger, nullable=False, comment="How many FIDs these may name"),
    schema=SCHEMA,
    comment="Hours of the raw log of which it is known whom they name (FC_TARGETS=set).",
)
NAMED_FIDS = sa.Table(
    "named_fids",
    METADATA,
    sa.Column("page", sa.Integer, primary_key=True, autoincrement=False, comment="fid / 65,536"),
    sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fids", pg.BYTEA, nullable=False, comment="Their distances modulo 65,536, compressed"),
    sa.ForeignKeyConstraint(
        ["partition", "shard"], ["pipeline.named_hours.partition", "pipeline.named_hours.shard"], ondelete="CASCADE"
    ),
    sa.Index("named_fids_hour_idx", "partition", "shard"),
    schema=SCHEMA,
    comment="The FIDs that an hour of the raw log may name: all that it does, and some others.",
)

_PAGE_BITS: Final = 16
_UNKNOWN: Final = sa.text(
    "SELECT c.partition, c.shard FROM (SELECT partition, shard, range_agg(int8range(from_height, to_height, '[]')) "
    "AS heights FROM pipeline.coverage GROUP BY 1, 2) AS c LEFT JOIN pipeline.named_hours AS n "
    "USING (partition, shard) WHERE n.heights IS NULL OR NOT c.heights <@ n.heights ORDER BY 1, 2"
)
_NOTE_HOUR: Final = sa.text(
    "INSERT INTO pipeline.named_hours AS n VALUES (:partition, :shard, CAST(:heights AS int8multirange), :fids) "
    "ON CONFLICT (partition, shard) DO UPDATE SET heights = excluded.heights, fids = excluded.fids"
)
_PAGES: Final = sa.text("SELECT page, partition, fids FROM pipeline.named_fids WHERE page = ANY (:pages)")


def unknown_hours(connection: sa.Connection) -> list[tuple[Hour, int]]:
    """The hours and shards that the ledger covers and of which it is not known whom all of that names."""
    return [(Hour.from_key(partition), shard) for partition, shard in connection.execute(_UNKNOWN)]


def hours_naming(connection: sa.Connection, fids: Collection[int]) -> set[Hour]:
    """The hours that may name one of these FIDs, of those that are known."""
    wanted: defaultdict[int, list[int]] = defaultdict(list)
    for fid in fids:
        wanted[fid >> _PAGE_BITS].append(fid & 0xFFFF)
    found: set[str] = set()
    for page, partition, content in connection.execute(_PAGES, {"pages": list(wanted)}):
        if partition not in found and np.isin(wanted[page], unpacked(content)).any():
            found.add(partition)
    return set(map(Hour.from_key, found))


def note(
    connection: sa.Connection,
    hour: Hour,
    shard: int,
    heights: Collection[tuple[int, int]],
    fids: npt.NDArray[np.uint32],
) -> None:
    """Note whom these heights (first, last) of an hour may name, ascending, in place of what was noted."""
    key = {"partition": hour.key, "shard": shard}
    ranges = "{" + ",".join(f"[{first},{last}]" for first, last in heights) + "}"
    connection.execute(_NOTE_HOUR, {**key, "heights": ranges, "fids": len(fids)})  # who does the same waits here
    columns = NAMED_FIDS.c
    connection.execute(sa.delete(NAMED_FIDS).where(columns.partition == hour.key, columns.shard == shard))
    pages, offsets = fids >> _PAGE_BITS, (fids & 0xFFFF).astype(np.uint16)
    rows = [{**key, "page": page, "fids": packed(offsets[pages == page])} for page in np.unique(pages).tolist()]
    if rows:
        connection.execute(sa.insert(NAMED_FIDS), rows)


def forget(connection: sa.Connection, hour: Hour, shard: int) -> None:
    """Make it unknown whom an hour names."""
    columns = NAMED_HOURS.c
    connection.execute(sa.delete(NAMED_HOURS).where(columns.partition == hour.key, columns.shard == shard))


def packed(offsets: npt.NDArray[np.uint16]) -> bytes:
    """Ascending numbers as the distances between them, all low bytes before all high ones, most of which are 0."""
    distances = np.diff(offsets, prepend=np.uint16(0)).astype("<u2")
    return zlib.compress(distances.view(np.uint8).reshape(-1, 2).T.tobytes(), 6)


def unpacked(content: bytes) -> npt.NDArray[np.uint16]:
    """The numbers again."""
    planes = np.frombuffer(zlib.decompress(content), dtype=np.uint8).reshape(2, -1)
    return np.cumsum(np.ascontiguousarray(planes.T).view("<u2").reshape(-1), dtype=np.uint16)
