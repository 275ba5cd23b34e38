"""Does a hub go on from what was read so far? One that does not is left, whatever it says: nothing of it is folded.

A hub that was reset or restored, or that is of another network, answers like any other. Its events would be folded
beside those of another history, and what its snapshots lack would be deleted.
"""

from fc_pipeline.errors import HubUntrusted
from fc_pipeline.fold import ledger, snapshot_ledger
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.failover import LITTLE_LAG_HEIGHTS, HubPool
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import HubInfo, first_event_id
from fc_pipeline.ingest.fid_fetch import FetchedChunk
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.tables.encoding import block_hash

__all__ = ["go_on_from_ledger", "refuse_lost_past"]


def go_on_from_ledger(replica: Replica, hubs: HubPool) -> None:
    """Have the pool follow no hub but one that goes on from what was already read, now and whenever it is vetted.

    It must not be behind, must have the number of data shards that the replica was begun with, and the very block
    where the ledger ends. A replica that was only fed by snapshots so far knows how high these were.
    """
    with replica.engine.connect() as connection:
        origins = ledger.origins(connection)
        heights = snapshot_ledger.newest_heights(connection) if not origins else {}
        cursors = {shard: ledger.last_covered(connection, shard) for shard in origins}
    heights |= {shard: cursor[0] for shard, cursor in cursors.items() if cursor is not None}
    shard_counts = {origin.shard_count for origin in origins.values()}

    async def check(hub: HubReads, info: HubInfo) -> None:
        for shard in info.shardInfos:
            await _refuse_other_history(replica, hub, shard.shardId, shard.maxHeight)

    hubs.note_cursors(heights)
    hubs.note_history(check, max(shard_counts, default=None))


async def _refuse_other_history(replica: Replica, hub: HubReads, shard: int, head_height: int) -> None:
    """Raise HubUntrusted if the hub has another block where the ledger ends, or nothing from there on."""
    with replica.engine.connect() as connection:
        known = ledger.last_block_hash(connection, shard, head_height)
    if known is None:
        return
    height, expected = known
    _, events, undecodable = decode_events(await hub.events(shard, first_event_id(height), page_size=1))
    if not events and not undecodable:
        if head_height - height <= LITTLE_LAG_HEIGHTS:
            return  # of several nodes behind one address, another one may have answered
        raise HubUntrusted(
            f"hub {hub.name} has lost its past: it says that shard {shard} is at height {head_height}, "
            f"but has no event from {height} on, which was read",
            hint="wait until it has synced again, or name another hub in FC_HUB_URLS",
        )
    confirmed = events[0].blockConfirmedBody if events and events[0].height == height else None
    found = block_hash(confirmed) if confirmed else None
    if found is not None and found != expected:
        raise HubUntrusted(
            f"hub {hub.name} has another history: block {height} of shard {shard} is 0x{found.hex()} there, "
            f"and 0x{expected.hex()} was read",
            hint="it is of another network, or was reset; another network wants a database and a lake of its own",
        )


def refuse_lost_past(replica: Replica, hub_name: str, fetched: FetchedChunk) -> None:
    """Raise HubUntrusted if a hub knows none of the FIDs that it was asked for and that were registered.

    Contract events do not go away (hub-api 4.3). All that such a hub lacks would be taken for deleted.
    """
    fids = [one.fid for one in fetched.snapshots]
    with replica.engine.connect() as connection:
        known = snapshot_ledger.registered_fids(connection, fids)
    if known and not known & fetched.registered:
        raise HubUntrusted(
            f"hub {hub_name} has lost its past: it has no registration of {len(known)} FIDs whose registration was "
            f"read, such as {min(known)}",
            hint="wait until it has synced again, or name another hub in FC_HUB_URLS",
        )
