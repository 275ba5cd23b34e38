"""What of a shard's live set is not known: removes and the like from before what was read of its feed.

By-FID lists over HTTP have adds and CAST_REMOVEs only. So the set is whole where the ledger has every event since the
shard's first block, or since the user registered.
"""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from fc_pipeline.fold.quarantine import IS_OPEN_EVENT
from fc_pipeline.reconcile.covered_history import FIRST_HEIGHT, GAPS, ORIGIN, ShardHistory
from fc_pipeline.store import coverage
from fc_pipeline.store.query import query_of
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import LEAF_TABLES

__all__ = ["KnownSet", "known_sets"]

_GAPS: Final = sa.text(GAPS.replace("$1::integer", "CAST(:shard AS integer)"))
_ORIGIN: Final = sa.text(ORIGIN.replace("$1::integer", "CAST(:shard AS integer)"))
_SHARDS: Final = sa.text("SELECT DISTINCT shard FROM pipeline.coverage ORDER BY shard")
_QUARANTINED: Final = sa.text(
    f"SELECT count(*) FROM pipeline.quarantine AS q WHERE q.shard = CAST(:shard AS integer) AND {IS_OPEN_EVENT}"
)
_MODE: Final = sa.text("SELECT mode FROM pipeline.target_set")


@dataclass(frozen=True, slots=True)
class KnownSet:
    """What the tables have of a shard's leaves up to the highest folded height.

    All of it `since` a height; None: they lack events just below the highest. `quarantined` events are in no table.
    With `only_targets`, other users' leaves are not kept.
    """

    shard: int
    since: int | None
    quarantined: int
    only_targets: bool

    @property
    def is_whole(self) -> bool:
        """Whether every leaf is known that the feed tells of."""
        return self.since is not None and self.since <= FIRST_HEIGHT and not self.quarantined and not self.only_targets

    @property
    def lacks(self) -> tuple[str, ...]:
        """What is not known, each with what completes it."""
        found: list[str] = []
        if self.since is None or self.since > FIRST_HEIGHT:
            begun = "blocks are missing" if self.since is None else f"the feed was read from height {self.since} on"
            found.append(
                f"shard {self.shard}: {begun}; of users who registered before, removes of reactions, links and "
                "verifications, compact states, lends, channel messages and fnames of that time are not known: a hub "
                "that keeps its whole feed (FC_START), or a node's own lists over gRPC, completes them"
            )
        if self.quarantined:
            found.append(
                f"shard {self.shard}: {self.quarantined} events are in quarantine: `fc-pipeline quarantine replay`"
            )
        if self.only_targets:
            found.append(f"shard {self.shard}: FC_TARGETS=set keeps the leaves of targets alone: no root can be made")
        return tuple(found)


def known_sets(connection: sa.Connection) -> list[KnownSet]:
    """Of every shard of which anything is folded."""
    query = query_of(connection)
    only_targets = connection.scalar(_MODE) == "set"
    found: list[KnownSet] = []
    for (shard,) in query(_SHARDS):
        gaps = [(first, last) for first, last in query(_GAPS, shard=shard)]
        history = ShardHistory.of(coverage.lines_of_shard(query, shard), gaps, query(_ORIGIN, shard=shard)[0][0])
        quarantined = int(query(_QUARANTINED, shard=shard)[0][0])
        found.append(KnownSet(shard, _known_since(history), quarantined, only_targets))
    return found


def _known_since(history: ShardHistory) -> int | None:
    """The height from which all tables with leaves have every event up to the highest folded one."""
    if history.top is None:
        return None
    starts = [history.covered_since(table, history.top) for table in (*LEAF_TABLES, OTHER_LEAVES.name)]
    known = [start for start in starts if start is not None]
    return max(known) if len(known) == len(starts) else None
