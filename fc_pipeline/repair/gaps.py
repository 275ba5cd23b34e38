"""Heals gaps by snapshots: every FID that a gap may have touched is made equal to the hub, then the gap is closed.

The state is in the ledgers alone: an FID is done with a gap once a later snapshot of it was folded, whichever run
fetched it. So interrupted healing resumes where it ended.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import MAX_FID, BackfillScope, find_fids
from fc_pipeline.errors import HubError, LeaseLost
from fc_pipeline.feed.survey import survey
from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.hub.wire import HubEvent, first_event_id
from fc_pipeline.replica import Replica
from fc_pipeline.store import gaps, ledger, snapshot_ledger
from fc_pipeline.store.gaps import OUTAGE, POISON_PAGE
from fc_pipeline.targets import directory

__all__ = ["DamagedRange", "HealingPlan", "bordering_hours", "heal_gaps", "plan_healing"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DamagedRange:
    """Heights of an open gap that only snapshots can heal, and those of the FIDs concerned that are left to do."""

    shard: int
    reason: str
    heights: HeightRange
    fids: frozenset[int]

    @property
    def last_id(self) -> int:
        """A snapshot of this version or a later one has all that happened."""
        return first_event_id(self.heights.last + 1) - 1


@dataclass(frozen=True)
class HealingPlan:
    """The gaps to heal now."""

    damaged_ranges: tuple[DamagedRange, ...]

    @cached_property
    def fids(self) -> frozenset[int]:
        """The FIDs whose snapshots this takes."""
        return frozenset().union(*(damaged.fids for damaged in self.damaged_ranges))

    @property
    def scope(self) -> BackfillScope:
        """The same as a scope, so that a run resumes what one over the same gaps has fetched."""
        named = ",".join(f"{w.shard}:{w.heights.first}-{w.heights.last}" for w in self.damaged_ranges)
        scope = BackfillScope.of_fids(self.fids)
        return BackfillScope(scope.buckets, scope.fids, f"gaps-{hashlib.sha256(named.encode()).hexdigest()[:16]}")


def plan_healing(replica: Replica) -> HealingPlan:
    """Survey the hub, and find what must be healed. Raises HubError, LakeError."""
    return asyncio.run(_plan(replica))


async def _plan(replica: Replica) -> HealingPlan:
    async with HubPool(replica.hub_endpoints) as hubs:
        state = await survey(replica, hubs)
        shard_count = len(await hubs.shards())
        with replica.engine.connect() as connection:
            poisoned = [gap for gap in gaps.all_gaps(connection, only_open=True) if gap.reason == POISON_PAGE]
        damaged_ranges = [
            DamagedRange(
                gap.shard, POISON_PAGE, gap.heights, _fids_of_block(replica, gap.shard, gap.heights, shard_count)
            )
            for gap in poisoned
        ]
        lost = [DamagedRange(one.shard, OUTAGE, heights, frozenset()) for one in state.shards for heights in one.lost]
        if lost or not all(damaged.fids for damaged in damaged_ranges):
            everyone = await find_fids(replica, hubs, BackfillScope())
            # Any user may be the author of events in an unreadable block.
            damaged_ranges = [
                damaged
                if damaged.fids
                else DamagedRange(damaged.shard, damaged.reason, damaged.heights, everyone.of_shard(damaged.shard))
                for damaged in (*damaged_ranges, *lost)
            ]
    return HealingPlan(tuple(_left(replica, damaged_ranges)))


def _left(replica: Replica, damaged_ranges: list[DamagedRange]) -> Iterator[DamagedRange]:
    """The same with only the replicated FIDs that have no folded snapshot later than the gap."""
    if not damaged_ranges:
        return
    with replica.engine.connect() as connection:
        targets = None if replica.targets is None else set(directory.target_fids(connection))
        for damaged in damaged_ranges:
            concerned = damaged.fids if targets is None else damaged.fids & targets
            left = concerned - snapshot_ledger.folded_as_of(connection, concerned, damaged.last_id)
            yield DamagedRange(damaged.shard, damaged.reason, damaged.heights, left)


def _fids_of_block(replica: Replica, shard: int, heights: HeightRange, shard_count: int) -> frozenset[int]:
    """The FIDs of the readable events of these blocks, as far as this is their shard."""
    found: set[int] = set()
    with replica.engine.connect() as connection:
        keys = ledger.partitions_of(connection, shard, heights)
    for key in keys:
        files = [
            file
            for file in replica.log.files(Hour.from_key(key), shard)
            if file.from_height <= heights.last and file.to_height >= heights.first
        ]
        for batch in replica.log.read(files):
            first, last = max(heights.first, batch.from_height), min(heights.last, batch.to_height)
            for event in batch.within(first, last).events:
                found.update(_fids_of(event))
    return frozenset(fid for fid in found if 0 < fid <= MAX_FID and shard_of(fid, shard_count) == shard)


def _fids_of(event: HubEvent) -> Iterator[int]:
    if (merged := event.mergeMessageBody) is not None:
        yield merged.message.data.fid
    for body in (event.pruneMessageBody, event.revokeMessageBody):
        if body is not None:
            yield body.message.data.fid
    if (chain := event.mergeOnChainEventBody) is not None:
        yield chain.onChainEvent.fid
    if (proofs := event.mergeUsernameProofBody) is not None:
        for proof in (proofs.usernameProof, proofs.deletedUsernameProof):
            if proof is not None:
                yield proof.fid
        for message in (proofs.usernameProofMessage, proofs.deletedUsernameProofMessage):
            if message is not None:
                yield message.data.fid


def heal_gaps(replica: Replica, run_id: str, backfill: Callable[[BackfillScope], Backfill]) -> HealingPlan:
    """Heal all open gaps that the feed cannot fill; returns the plan.

    `backfill` gives the work over a scope, which must fetch and fold. A gap is closed once all its FIDs are done; that
    the hub cannot answer for some of them keeps an outage open, but not a poison page, whose own FID may be such.
    Raises LeaseLost while another run is healing, HubError where the hub fails or FIDs of an outage cannot be read.
    """
    with _alone(replica):
        plan = plan_healing(replica)
        failure: HubError | None = None
        unread: frozenset[int] = frozenset()
        if plan.fids:
            work = backfill(plan.scope)
            try:
                work.execute()
            except HubError as error:
                failure = error
                unread = frozenset(work.progress.unread)
        still_open = _close(replica, plan, unread, run_id)
    if failure is not None and (still_open or not unread):
        raise failure
    return plan


def bordering_hours(replica: Replica, plan: HealingPlan) -> list[Hour]:
    """The hours with folded blocks of which a gap was a part, ascending."""
    with replica.engine.connect() as connection:
        keys = {
            key
            for damaged in plan.damaged_ranges
            for key in ledger.partitions_of(
                connection, damaged.shard, HeightRange(damaged.heights.first - 1, damaged.heights.last + 1)
            )
        }
    return sorted(map(Hour.from_key, keys))


def _close(replica: Replica, plan: HealingPlan, unread: frozenset[int], run_id: str) -> int:
    """Close the gaps that are healed; how many are not."""
    still_open = 0
    for damaged in _left(replica, list(plan.damaged_ranges)):
        left = damaged.fids - unread if damaged.reason == POISON_PAGE else damaged.fids
        if left:
            still_open += 1
            continue
        gaps.heal(replica.engine, damaged.shard, damaged.reason, damaged.heights, run_id)
        log.info(
            "gap_healed shard=%d heights=%d-%d reason=%s unread_fids=%d",
            damaged.shard,
            damaged.heights.first,
            damaged.heights.last,
            damaged.reason,
            len(damaged.fids),
        )
    return still_open


@contextmanager
def _alone(replica: Replica) -> Generator[None]:
    with gaps.healing_lock(replica.engine) as taken:
        if not taken:
            raise LeaseLost("another run is healing the gaps", hint="wait until it ends, or terminate it")
        yield
