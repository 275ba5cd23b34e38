"""The list of FIDs that a round of snapshots goes by: taken from the hub once, page by page, and kept in Postgres."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection

import sqlalchemy as sa

from fc_pipeline.backfill.scope import BackfillScope, ScopedFids, listed_fids, named_fids
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.replica import Replica
from fc_pipeline.store import fid_listings
from fc_pipeline.store.fid_listings import Listing
from fc_pipeline.store.schema import hold_schema

__all__ = ["shared_listing", "take_listing"]

log = logging.getLogger(__name__)


async def shared_listing(
    replica: Replica, hubs: HubPool, buckets: Collection[int], name: str | None
) -> tuple[Listing, int]:
    """The list of this name, or a new one; and how many requests it took here. One with a name has all buckets.

    Of runs that ask for the same name at once, one takes the list. A list without a name, or of which a round over one
    of the buckets is finished already, serves no second one. Raises HubError, PostgresError.
    """
    with replica.engine.begin() as connection:
        await asyncio.to_thread(fid_listings.wait_for_others, connection)
        if name is not None:
            for one in fid_listings.living(connection, name=name):
                if fid_listings.finished_buckets(connection, one.id).isdisjoint(buckets):
                    return one, 0
        return await take_listing(replica, hubs, connection, buckets if name is None else range(BUCKETS), name)


async def take_listing(
    replica: Replica, hubs: HubPool, connection: sa.Connection, buckets: Collection[int], name: str | None
) -> tuple[Listing, int]:
    """A new list of these buckets' users, there with the commit of this transaction, in which nobody else takes one.

    Where only targets are replicated it is theirs. Raises HubError, PostgresError.
    """
    hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
    listing = fid_listings.begin(connection, name, buckets)
    requests = pages = 0
    targets = named_fids(replica, BackfillScope(tuple(buckets)))
    async for shard, fids in listed_fids(hubs) if targets is None else _by_shard(hubs, targets):
        requests += targets is None
        pages += 1
        await asyncio.to_thread(fid_listings.add_page, connection, listing, shard, pages, fids)
    if targets is None:
        await asyncio.to_thread(fid_listings.add_known, connection, listing, len(await hubs.shards()))
    log.info("fids_listed listing=%d requests=%d", listing.id, requests)
    return listing, requests


async def _by_shard(hubs: HubPool, fids: Collection[int]) -> AsyncGenerator[tuple[int, list[int]]]:
    shards = await hubs.shards()
    scoped = ScopedFids.of(fids, len(shards))
    for shard in shards:
        yield shard, sorted(scoped.of_shard(shard))
