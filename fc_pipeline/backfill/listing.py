"""The list of FIDs that a round of snapshots goes by: taken from the hub once, page by page, and kept in Postgres."""

import asyncio
import logging
from collections.abc import Collection

from fc_pipeline.backfill.scope import listed_fids
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.replica import Replica
from fc_pipeline.store import fid_listings
from fc_pipeline.store.fid_listings import Listing
from fc_pipeline.store.schema import hold_schema

__all__ = ["shared_listing"]

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
        hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
        listing = fid_listings.begin(connection, name, buckets if name is None else range(BUCKETS))
        requests = 0
        async for shard, fids in listed_fids(hubs):
            requests += 1
            await asyncio.to_thread(fid_listings.add_page, connection, listing, shard, requests, fids)
        await asyncio.to_thread(fid_listings.add_known, connection, listing, len(await hubs.shards()))
    log.info("fids_listed listing=%d requests=%d", listing.id, requests)
    return listing, requests
