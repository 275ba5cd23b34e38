"""What a run has to do of its rounds, bucket by bucket: the users that are not fetched, and what waits to be folded.

A bucket's users are loaded when its turn comes, so that a run over the whole network needs no more memory than one
over a bucket.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from fc_pipeline.backfill.listing import shared_listing
from fc_pipeline.backfill.scope import BackfillScope, ScopedFids, named_fids
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.snapshot import CONTRACTS_FID, shard_of
from fc_pipeline.lake.snapshot_log import bucket_of
from fc_pipeline.replica import Replica
from fc_pipeline.store import fid_listings, snapshot_ledger
from fc_pipeline.store.snapshot_ledger import SnapshotLine

__all__ = ["BUCKETS_PER_RUN", "BucketPlan", "RoundPlan"]

BUCKETS_PER_RUN: Final = 16
"""A round over all buckets is done by runs over so many each, some at a time."""


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """What is left of a bucket: FIDs to fetch, with their shards, and snapshots that wait for their fold."""

    bucket: int
    missing: Sequence[tuple[int, int]]
    stored: Sequence[SnapshotLine]


@dataclass
class RoundPlan:
    """The rounds of a scope's buckets, begun or taken up by `open`; `round_name` is that of runs that share a list.

    `rounds` says when each was begun, `expected` how many FIDs are left in each bucket, as far as that is known before
    it is loaded; `requests` is how many it took to list them.
    """

    replica: Replica
    run_id: str
    scope: BackfillScope
    round_name: str | None
    requests: int = 0
    rounds: dict[int, datetime] = field(default_factory=dict[int, datetime])
    expected: dict[int, int] = field(default_factory=dict[int, int])
    _listings: dict[int, int] = field(default_factory=dict[int, int])
    _named: ScopedFids | None = None
    _shard_count: int = 0

    async def open(self, hubs: HubPool) -> None:
        """Find out which users there are, and begin the rounds. Raises HubError, PostgresError."""
        self._shard_count = len(await hubs.shards())
        named = await asyncio.to_thread(named_fids, self.replica, self.scope)
        if named is not None:
            self._named = ScopedFids.of(named, self._shard_count)
            await asyncio.to_thread(self._begin, await asyncio.to_thread(self._listing_of_targets))
            return
        listing = None
        if await asyncio.to_thread(self._lacks_listing):
            found, requests = await shared_listing(self.replica, hubs, self.scope.buckets, self.round_name)
            listing, self.requests = found.id, self.requests + requests
        await asyncio.to_thread(self._begin, listing)

    def _lacks_listing(self) -> bool:
        """Whether a bucket has no unfinished round that goes by a list."""
        with self.replica.engine.connect() as connection:
            begun = snapshot_ledger.unfinished_rounds(connection, self.scope.buckets, self.scope.name)
            known = fid_listings.living_of_rounds(connection, self.scope.name, begun)
        return any(bucket not in known for bucket in self.scope.buckets)

    def _listing_of_targets(self) -> int | None:
        """The list of the round that runs share: of targets it only says which buckets are done."""
        if self.round_name is None or self.scope.fids is not None:
            return None
        with self.replica.engine.connect() as connection:
            return next((one.id for one in fid_listings.living(connection, name=self.round_name)), None)

    def _begin(self, listing: int | None) -> None:
        buckets, scope = self.scope.buckets, self.scope.name
        with self.replica.engine.begin() as connection:
            self.rounds = snapshot_ledger.open_rounds(connection, buckets, scope, self.run_id, datetime.now(UTC))
            if self._named is not None:
                self.expected = dict(Counter(bucket_of(fid) for fid in self._named.fids.tolist()))
                if listing is not None:
                    fid_listings.assign(connection, scope, self.rounds, listing)
                return
            self._listings = fid_listings.living_of_rounds(connection, scope, self.rounds)
            new = {bucket: at for bucket, at in self.rounds.items() if bucket not in self._listings}
            if new and listing is not None:
                fid_listings.assign(connection, scope, new, listing)
                self._listings.update(dict.fromkeys(new, listing))
            for one in set(self._listings.values()):
                of_one = [bucket for bucket, known in self._listings.items() if known == one]
                self.expected.update(fid_listings.numbers_by_bucket(connection, one, of_one))
            fetched = fid_listings.fetched_by_bucket(connection, scope, self.rounds)
        self.expected = {bucket: max(0, fids - fetched[bucket]) for bucket, fids in self.expected.items()}

    def load(self, bucket: int) -> BucketPlan:
        """What is left of a bucket. Raises PostgresError."""
        with self.replica.engine.connect() as connection:
            if self._named is not None:
                users = dict(self._named.with_shards([bucket]))
            else:
                users = fid_listings.fids_of(connection, self._listings[bucket], bucket)
                if bucket == bucket_of(CONTRACTS_FID):
                    users[CONTRACTS_FID] = shard_of(CONTRACTS_FID, self._shard_count)
            lines = snapshot_ledger.lines(connection, [bucket], since=self.rounds[bucket], fids=users.keys())
        fetched = {line.fid for line in lines}
        missing = [(fid, users[fid]) for fid in sorted(users) if fid not in fetched]
        return BucketPlan(bucket, missing, [line for line in lines if not line.is_folded])

    def finish(self) -> None:
        """Finish all rounds together, so that a run that resumes a dead one does not repeat its first buckets."""
        with self.replica.engine.begin() as connection:
            snapshot_ledger.finish_rounds(connection, self.scope.name, self.rounds)
