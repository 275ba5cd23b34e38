"""Does a hub continue the history that was read so far? Nothing of a hub that does not is folded.

A hub that was reset or restored, or belongs to another network, answers like any other. Folding its events would mix
two histories, and rows missing from its snapshots would be deleted.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from fc_pipeline.errors import HubBehind, HubUnavailable, HubUntrusted, LakeError, OtherHistory
from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.reads import MAX_NODE_LAG_HEIGHTS, HubReads
from fc_pipeline.hub.vetting import ANOTHER_NETWORK, NODES_ASKED
from fc_pipeline.hub.wire import HubEvent, HubInfo, first_event_id, height_of
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger, snapshot_ledger
from fc_pipeline.tables.encoding import block_hash

__all__ = ["other_history", "resume_from_ledger"]

VET_SECONDS: Final = 15.0
"""How long a hub may take to say which network it belongs to."""
MAX_LAG_WAIT_SECONDS: Final = 2.0


def resume_from_ledger(replica: Replica, hubs: HubPool) -> None:
    """Restrict the pool to hubs that continue the history already read, now and whenever a hub is vetted.

    Such a hub is not behind, has as many data shards as the replica started with, and has the same block at the end of
    the ledger. A replica that has only snapshots so far knows their heights.
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


def other_history(replica: Replica) -> OtherHistory | None:
    """The error if no configured hub can ever be followed: each belongs to another network, or was reset.

    None if one continues the history already read. Raises HubError if that is unknown: a hub does not answer, or is
    behind.
    """
    with replica.engine.connect() as connection:
        if not ledger.origins(connection) and not snapshot_ledger.newest_heights(connection):
            return None

    async def vet() -> None:
        endpoints = replica.hub_endpoints
        async with (
            asyncio.timeout(VET_SECONDS),
            HubPool(endpoints, retries=1, max_lag_wait_seconds=MAX_LAG_WAIT_SECONDS) as hubs,
        ):
            resume_from_ledger(replica, hubs)
            await hubs.follow(None)

    try:
        asyncio.run(vet())
    except OtherHistory as error:
        return error
    except TimeoutError as error:
        raise HubUnavailable(f"no hub has told within {VET_SECONDS:.0f} s which network it is of") from error
    return None


async def _refuse_other_history(replica: Replica, hub: HubReads, shard: int, head_height: int) -> None:
    """Raise OtherHistory if the hub has another block where it ends, or the ledger, HubUntrusted if it lost its past.

    The node that answers may not be the one that reported `head_height`: if it has no event after the ledger's end,
    another node is asked; a node's newest event proves its height. Raises HubBehind if that is slightly lower.
    """
    known = _last_known_block(replica, shard, head_height)
    if known is None or await _has_block(hub, shard, *known):
        return
    furthest = 0
    for _ in range(NODES_ASKED):
        stop_id = first_event_id(known[0] + 1)
        raws = await hub.events(shard, first_event_id(1), stop_id, page_size=1, reverse=True)
        furthest = max([furthest, *(height_of(event_id) for event_id in decode_events(raws)[0] if event_id < stop_id)])
    says = f"it says that shard {shard} is at height {head_height}"
    if not furthest or known[0] - furthest > MAX_NODE_LAG_HEIGHTS:
        has = f"its newest event is of height {furthest}" if furthest else "it has no event at all up to there"
        raise HubUntrusted(
            f"hub {hub.name} has lost its past: {says}, and {known[0]} was read, but {has}",
            hint="wait until it has synced again, or name another hub in FC_HUB_URLS",
        )
    if (below := _last_known_block(replica, shard, furthest)) is not None:
        await _has_block(hub, shard, *below)
    raise HubBehind(
        f"hub {hub.name} is behind: {says}, but what answers has no event from {known[0]} on, which was read",
        height=furthest,
        hint="wait until every node behind the address has caught up, or name another hub in FC_HUB_URLS",
    )


def _last_known_block(replica: Replica, shard: int, up_to_height: int) -> tuple[int, bytes] | None:
    """The highest block up to a height whose hash is known: the ledger has those at its lines' ends, the raw log all.

    The last line may end hours after the one before it: a hub that is behind could part from what was read in between.
    """
    with replica.engine.connect() as connection:
        known = ledger.last_block_hash(connection, shard, up_to_height)
        if known is not None and known[0] == up_to_height:
            return known
        hours = ledger.partitions_of(connection, shard, ledger.HeightRange(up_to_height, up_to_height))
    for hour in hours:
        with suppress(LakeError):  # then only the ledger is left
            _, events, _ = decode_events(replica.log.block(Hour.from_key(hour), shard, up_to_height))
            found = block_hash(events[0].blockConfirmedBody) if events and events[0].blockConfirmedBody else None
            if found is not None:
                return up_to_height, found
    return known


async def _has_block(hub: HubReads, shard: int, height: int, expected: bytes) -> bool:
    """Whether a node of the hub has events from this height on. Raises OtherHistory if the block there is another."""
    for _ in range(NODES_ASKED):
        _, events, undecodable = decode_events(await hub.events(shard, first_event_id(height), page_size=1))
        if events or undecodable:
            _refuse_other_block(hub, shard, height, expected, events)
            return True
        hub.client.ask_another_node()
    return False


def _refuse_other_block(hub: HubReads, shard: int, height: int, expected: bytes, events: Sequence[HubEvent]) -> None:
    """Raise OtherHistory if these events begin with a block of the same height and another hash."""
    confirmed = events[0].blockConfirmedBody if events and events[0].height == height else None
    found = block_hash(confirmed) if confirmed else None
    if found is not None and found != expected:
        raise OtherHistory(
            f"hub {hub.name} has another history: block {height} of shard {shard} is 0x{found.hex()} there, "
            f"and 0x{expected.hex()} was read",
            hint=ANOTHER_NETWORK,
        )
