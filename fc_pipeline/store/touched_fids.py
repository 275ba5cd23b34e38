"""Notes of FIDs whose leaves a transaction may have changed: their digests are made anew later, off the hot path.

One line per transaction, without an index on the FIDs: it costs a micro-batch next to nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

__all__ = ["NOTE_SNAPSHOTS", "note_everywhere", "noting"]

_NOTE: Final = (
    "INSERT INTO pipeline.touched_fids (shard, fids) VALUES ($1::integer, string_to_array($2, ',')::bigint[])"
)

NOTE_SNAPSHOTS: Final = (
    "INSERT INTO pipeline.touched_fids (shard, fids) "
    "SELECT shard, array_agg(fid ORDER BY fid) FROM stage_snapshots GROUP BY shard"
)
"""Note the FIDs of the staged snapshots, each on its home shard."""


def noting(shard: int, fids: Sequence[int]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The statement with its parameters that notes FIDs; none where there are none."""
    if fids:
        yield _NOTE, (shard, ",".join(map(str, fids)))


def note_everywhere(fids: str) -> str:
    """The statement that notes, on every shard, the FIDs that a query gives in its column fid."""
    return (
        "INSERT INTO pipeline.touched_fids (shard, fids) SELECT s.shard, f.fids FROM pipeline.shards AS s CROSS JOIN "
        f"(SELECT array_agg(DISTINCT fid) AS fids FROM ({fids}) AS named WHERE fid IS NOT NULL) AS f "
        "WHERE f.fids IS NOT NULL"
    )
