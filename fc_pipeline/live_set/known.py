"""What of a shard's live set is not known: removes and the like from before what was read of its feed.

By-FID lists over HTTP have adds and CAST_REMOVEs only. So the set is whole where the ledger has every event since the
shard's first block, or since the user registered; or where a node's lists were read over gRPC since then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from fc_pipeline.fold.quarantine import IS_OPEN_EVENT
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS, first_event_id
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.reconcile.covered_history import FIRST_HEIGHT, GAPS, ORIGIN, ShardHistory
from fc_pipeline.store import covered_heights
from fc_pipeline.store.fid_listings import home_shard
from fc_pipeline.store.query import Query, query_of
from fc_pipeline.store.snapshot_ledger import ALL_FIDS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import LEAF_TABLES

__all__ = ["KnownSet", "known_sets"]

_SEQUENCE: Final = (1 << BLOCK_SEQUENCE_BITS) - 1
_GAPS: Final = sa.text(GAPS.replace("$1::integer", "CAST(:shard AS integer)"))
_ORIGIN: Final = sa.text(ORIGIN.replace("$1::integer", "CAST(:shard AS integer)"))
_SHARDS: Final = sa.text("SELECT DISTINCT shard FROM pipeline.covered_heights ORDER BY shard")
_QUARANTINED: Final = sa.text(
    f"SELECT count(*) FROM pipeline.quarantine AS q WHERE q.shard = CAST(:shard AS integer) AND {IS_OPEN_EVENT}"
)
_EVERY_BUCKET: Final = sa.text(
    "SELECT count(DISTINCT bucket) = :buckets FROM pipeline.snapshot_rounds "
    "WHERE scope = :scope AND finished_at IS NOT NULL"
)
_HOME: Final = home_shard("fid", "cardinality(CAST(:since_ids AS bigint[]))")
# A version whose sequence number is the highest is no event's: a snapshot has brought the registration.
_UNLISTED: Final = sa.text(
    "SELECT count(*) FROM (SELECT fid FROM public.on_chain_events WHERE type = 'id_register' AND fid > 0 "
    "AND deleted_at IS NULL GROUP BY fid "
    f"HAVING min(version) < (CAST(:since_ids AS bigint[]))[{_HOME}] OR min(version) & {_SEQUENCE} = {_SEQUENCE}) AS r "
    "LEFT JOIN pipeline.snapshots AS s ON s.fid = r.fid WHERE coalesce(s.leaves_versions[CAST(:shard AS integer)], 0) "
    "< (CAST(:since_ids AS bigint[]))[CAST(:shard AS integer)] - 1"
)
_LOADED: Final = sa.text(
    "SELECT s.shard, s.height FROM pipeline.bulk_load_shards AS s WHERE s.leaves IS NOT NULL "
    "AND EXISTS (SELECT FROM pipeline.bulk_load WHERE finished_at IS NOT NULL)"
)
"""Shards of which a node's files were loaded, with the root that the header of this height has."""
_MODE: Final = sa.text("SELECT mode FROM pipeline.target_set")


@dataclass(frozen=True, slots=True)
class KnownSet:
    """What the tables have of a shard's leaves up to the highest folded height.

    All of it `since` a height; None: they lack events just below the highest. `quarantined` events are in no table.
    With `only_targets`, other users' leaves are not kept. What was before is known of all users but `unlisted_fids`,
    of which a node's lists were not read at that height or later; None where users may be missing as well. What was
    before does not count where the root `is_proved` to have been that of the network since.
    """

    shard: int
    since: int | None
    quarantined: int
    only_targets: bool
    unlisted_fids: int | None = None
    is_proved: bool = False

    @property
    def is_from_the_start(self) -> bool:
        """Whether the feed was read from the first block on."""
        return self.since is not None and self.since <= FIRST_HEIGHT

    @property
    def is_listed(self) -> bool:
        """Whether a node's lists say what was before: all but channel messages and signed proofs of names."""
        return self.since is not None and self.unlisted_fids == 0

    @property
    def has_whole_past(self) -> bool:
        """Whether all is known of when the feed was not read, as far as lists tell, and everybody's leaves are kept."""
        return not self.only_targets and (self.is_proved or self.is_from_the_start or self.is_listed)

    @property
    def is_whole(self) -> bool:
        """Whether every leaf is known that the feed, or a node's lists, tell of."""
        return self.has_whole_past and not self.quarantined

    @property
    def lacks(self) -> tuple[str, ...]:
        """What is not known, each with what completes it."""
        found: list[str] = []
        if not self.is_proved and not self.is_from_the_start:
            begun = "blocks are missing" if self.since is None else f"the feed was read from height {self.since} on"
            found.append(f"shard {self.shard}: {begun}; {self._before}")
        if self.quarantined:
            found.append(
                f"shard {self.shard}: {self.quarantined} events are in quarantine: `fc-pipeline quarantine replay`"
            )
        if self.only_targets:
            found.append(f"shard {self.shard}: FC_TARGETS=set keeps the leaves of targets alone: no root can be made")
        return tuple(found)

    @property
    def _before(self) -> str:
        if self.is_listed:
            return (
                "of what was before, channel messages and signed proofs of names are not known, which no call lists: a "
                "hub that keeps its whole feed (FC_START) completes them"
            )
        users = "users" if self.unlisted_fids is None else f"{self.unlisted_fids:,} users"
        return (
            f"of {users} who registered before, removes of reactions, links and verifications, compact states, lends, "
            "channel messages and fnames of that time are not known: a hub that keeps its whole feed (FC_START) "
            "completes them, or all but channel messages a node's own lists: set FC_HUB_GRPC, then "
            "`fc-pipeline backfill --all`"
        )


def known_sets(connection: sa.Connection) -> list[KnownSet]:
    """Of every shard of which anything is folded."""
    query = query_of(connection)
    only_targets = connection.scalar(_MODE) == "set"
    since = {shard: _known_since(_history(query, shard)) for (shard,) in query(_SHARDS)}
    loaded = {row[0]: row[1] for row in query(_LOADED)}
    found: list[KnownSet] = []
    for shard, height in since.items():
        quarantined = int(query(_QUARANTINED, shard=shard)[0][0])
        unlisted = _unlisted(query, shard, since)
        is_proved = height is not None and height <= loaded.get(shard, -1) + 1
        found.append(KnownSet(shard, height, quarantined, only_targets, unlisted, is_proved=is_proved))
    return found


def _history(query: Query, shard: int) -> ShardHistory:
    gaps = [(first, last) for first, last in query(_GAPS, shard=shard)]
    return ShardHistory.of(covered_heights.spans(query, shard), gaps, query(_ORIGIN, shard=shard)[0][0])


def _unlisted(query: Query, shard: int, since: Mapping[int, int | None]) -> int | None:
    """Of how many users a node's lists were not read since the feed was; None where not all users were asked for.

    A user who registered since then, by the feed of the home shard, needs no lists.
    """
    heights = [height for _, height in sorted(since.items()) if height is not None]
    if sorted(since) != list(range(1, len(heights) + 1)):  # the feed of some shard is not read
        return None
    if not query(_EVERY_BUCKET, buckets=BUCKETS, scope=ALL_FIDS)[0][0]:
        return None
    return int(query(_UNLISTED, shard=shard, since_ids=[first_event_id(height) for height in heights])[0][0])


def _known_since(history: ShardHistory) -> int | None:
    """The height from which all tables with leaves have every event up to the highest folded one."""
    if history.top is None:
        return None
    starts = [history.covered_since(table, history.top) for table in (*LEAF_TABLES, OTHER_LEAVES.name)]
    known = [start for start in starts if start is not None]
    return max(known) if len(known) == len(starts) else None
