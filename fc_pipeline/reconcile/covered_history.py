"""Whose history is covered: an FID's differences are drift if the ledger has every height that explains its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.heights import HeightRange
from fc_pipeline.store.covered_heights import CoveredSpan

__all__ = [
    "FIRST_HEIGHT",
    "FOLLOWED",
    "GAPS",
    "IS_REGISTER",
    "ORIGIN",
    "REGISTERED",
    "REGISTERED_SINCE_ORIGIN",
    "ShardHistory",
]

FIRST_HEIGHT: Final = 1
"""Where a shard's chain begins."""

CONTRACT_DELAY_SECONDS: Final = 2
"""A contract event takes at least one block of its own chain (two seconds on OP Mainnet) to reach a hub."""

GAPS: Final = (
    "SELECT from_height, to_height FROM pipeline.gaps WHERE shard = $1::integer AND healed_how IS DISTINCT FROM 'feed'"
)
"""Folded heights with missing events, unless the feed has delivered them later."""

ORIGIN: Final = (
    f"SELECT coalesce((SELECT origin_height FROM pipeline.shards WHERE shard = $1::integer), {FIRST_HEIGHT})"
)
"""The origin of a shard's replica."""

FOLLOWED: Final = (
    "SELECT count(*) FROM pipeline.leases WHERE shard = $1::integer AND heartbeat_at > now() - interval '15 seconds' "
    "AND EXISTS (SELECT FROM pg_stat_activity WHERE pid = backend_pid)"
)
"""Whether a run is reading the shard's feed now."""

IS_REGISTER: Final = "->>'eventType' IN ('Register', 'ID_REGISTER_EVENT_TYPE_REGISTER')"
"""SQL that follows a contract event's body: whether that is the registration itself."""

REGISTERED: Final = (
    "SELECT p.fid, min(o.version) FROM stage_snapshots AS p CROSS JOIN LATERAL (SELECT version "
    "FROM public.on_chain_events WHERE fid = p.fid AND type = 'id_register' AND deleted_at IS NULL "
    f"AND body{IS_REGISTER} OFFSET 0) AS o WHERE p.fid > 0 GROUP BY p.fid"
)
"""The registration event of each FID of a fold, where the tables have it."""

REGISTERED_SINCE_ORIGIN: Final = (
    "SELECT p.fid, o.origin_height FROM stage_snapshots AS p JOIN pipeline.shards AS o ON o.shard = p.shard "
    "JOIN stage_on_chain_events AS s ON s.fid = p.fid "
    f"WHERE p.fid > 0 AND s.type = 'id_register' AND s.body::jsonb{IS_REGISTER} "
    "GROUP BY p.fid, o.origin_height, o.origin_at "
    f"HAVING bool_and(coalesce(s.block_timestamp >= o.origin_at - interval '{CONTRACT_DELAY_SECONDS} seconds', false))"
)
"""The FIDs of a fold that, by their snapshots, were registered after their shard's origin, and that origin's height.

A hub merges a contract's event in a block of its own that is later, so theirs is above that height, also where the
table has lost it.
"""


@dataclass(frozen=True, slots=True)
class ShardHistory:
    """What the ledger has of a shard, per table, as ranges in ascending order that do not touch; and its known gaps.

    `origin` is the first height that the ledger must cover, `top` the highest folded one.
    """

    covered: Mapping[str, Sequence[HeightRange]]
    gaps: Sequence[HeightRange]
    origin: int
    top: int | None

    @classmethod
    def of(cls, spans: Sequence[CoveredSpan], gaps: Sequence[tuple[int, int]], origin: int) -> "ShardHistory":
        """From what the ledger has of the shard, and the answers to GAPS and ORIGIN."""
        covered: dict[str, list[HeightRange]] = {}
        for span in spans:
            for name in span.tables:
                covered.setdefault(name, []).append(span.heights)
        joined = {name: _joined(ranges) for name, ranges in covered.items()}
        top = max((span.heights.last for span in spans), default=None)
        return cls(joined, [HeightRange(*gap) for gap in gaps], origin, top)

    def covered_since(self, table: str, height: int) -> int | None:
        """The height from which everything up to `height` was folded into a table, without a known gap; else None."""
        for one in self.covered.get(table, ()):
            if one.first <= height <= one.last:
                open_until = [gap.last for gap in self.gaps if gap.first <= height and gap.last >= one.first]
                return max([one.first, *(last + 1 for last in open_until)])
        return None

    def is_covered(self, table: str, *, since: int | None, until: int) -> bool:
        """Whether a table has everything from the beginning, or from height `since`, up to height `until`."""
        start = self.covered_since(table, until)
        if start is None:
            return False
        return start <= FIRST_HEIGHT or (since is not None and start <= since)

    def is_covered_for(self, table: str, heights: int, *, until: int) -> bool:
        """Whether a table has the last so many heights up to `until`, or all that there are to be."""
        start = self.covered_since(table, until)
        return start is not None and start <= max(until - heights, self.origin)


def _joined(ranges: list[HeightRange]) -> list[HeightRange]:
    joined: list[HeightRange] = []
    for one in sorted(ranges):
        if joined and joined[-1].last + 1 >= one.first:
            joined[-1] = HeightRange(joined[-1].first, max(joined[-1].last, one.last))
        else:
            joined.append(one)
    return joined
