"""What a backfill will cost before it is done: requests, rows and hours, from a sample of its FIDs."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from fc_pipeline.backfill.fetch import CHUNK_FIDS, INFO_REQUESTS, concurrent_fids
from fc_pipeline.backfill.fid_leaves import LEAF_REQUESTS
from fc_pipeline.backfill.fid_records import expected_messages, expected_requests, snapshot
from fc_pipeline.backfill.scope import BackfillScope, ScopedFids, find_fids, vet_hub
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.snapshot import CONTRACTS_FID
from fc_pipeline.replica import Replica
from fc_pipeline.store import snapshot_ledger

__all__ = ["BackfillEstimate", "estimate"]

SAMPLE_FIDS: Final = 100
"""FIDs sampled for their storage limits: one request each."""
WHOLE_FIDS: Final = 10
"""FIDs read completely: for what no limit covers (names, contract events), and for the seconds per request."""
MAX_WHOLE_MESSAGES: Final = 2_000


@dataclass(frozen=True)
class BackfillEstimate:
    """`fids` are those of the scope, `fids_left` those that an interrupted round has not fetched yet.

    `rows` is the estimated number of records, `seconds` the estimated duration of the requests: at the hub's request
    budget or, without one, at the pace of the sample.
    """

    fids: int
    fids_left: int
    sampled_fids: int
    requests: int
    rows: int
    seconds: float
    requests_per_second: float

    @property
    def hours(self) -> float:
        """The same in hours."""
        return self.seconds / 3600


@dataclass
class _Sample:
    fids: int = 0
    requests: int = 0
    messages: int = 0
    whole_fids: int = 0
    other_records: int = 0
    asked: int = 0


def estimate(replica: Replica, scope: BackfillScope) -> BackfillEstimate:
    """Request the FIDs of a scope, and what a random sample of them stores. Raises HubError."""
    return asyncio.run(_estimate(replica, scope))


async def _estimate(replica: Replica, scope: BackfillScope) -> BackfillEstimate:
    async with HubPool(replica.hub_endpoints) as hubs:
        await vet_hub(replica, hubs)
        found = await find_fids(replica, hubs, scope)
        left = await asyncio.to_thread(_unfetched, replica, scope, found)
        hub = await hubs.follow(None)
        started = time.monotonic()
        sample = await _sample(hub, left.fids.tolist())
        seconds_per_request = (time.monotonic() - started) / max(sample.asked, 1)
        chunks = sum(ceil(int(fids) / CHUNK_FIDS) for fids in np.bincount(left.shards))
        per_fid = sample.requests / max(sample.fids, 1) + (LEAF_REQUESTS if replica.settings.hub_grpc else 0)
        requests = round(len(left) * per_fid) + chunks * INFO_REQUESTS + found.requests
        records = sample.messages / max(sample.fids, 1) + sample.other_records / max(sample.whole_fids, 1)
        rate = hub.client.endpoint.requests_per_second or 1 / max(seconds_per_request, 1e-6)
        return BackfillEstimate(
            fids=len(found),
            fids_left=len(left),
            sampled_fids=sample.fids,
            requests=requests,
            rows=round(len(left) * records),
            seconds=requests / rate,
            requests_per_second=rate,
        )


def _unfetched(replica: Replica, scope: BackfillScope, found: ScopedFids) -> ScopedFids:
    """The FIDs that a run would fetch now."""
    with replica.engine.connect() as connection:
        begun = snapshot_ledger.unfinished_rounds(connection, scope.buckets, scope.name)
        fetched = snapshot_ledger.fetched_fids(connection, begun)
    is_left = ~np.isin(found.fids, fetched)
    return ScopedFids(found.fids[is_left], found.shards[is_left], 0)


async def _sample(hub: HubReads, fids: Sequence[int]) -> _Sample:
    users = [fid for fid in fids if fid != CONTRACTS_FID]
    chosen = random.SystemRandom().sample(users, min(SAMPLE_FIDS, len(users)))
    found = _Sample()
    asking = asyncio.Semaphore(concurrent_fids(hub))

    async def one(fid: int) -> None:
        async with asking:
            own = HubReads(hub.client.counting())
            limits = await own.storage_limits_by_fid(fid)
            found.fids += 1
            found.requests += expected_requests(limits)
            found.messages += expected_messages(limits)
            if found.whole_fids < WHOLE_FIDS and expected_messages(limits) <= MAX_WHOLE_MESSAGES:
                found.whole_fids += 1
                pages = [page async for page in snapshot(own, fid)]
                others = [page for page in pages if page.kind in ("username_proofs", "on_chain_events")]
                found.other_records += sum(len(page.records) for page in others)
            found.asked += own.client.requests

    await asyncio.gather(*(one(fid) for fid in chosen))
    return found
