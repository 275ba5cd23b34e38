"""Reads the gasless keys of users whose turn it is: one request each, within the hub's budget, apart from snapshots.

Their turn comes when a key has signed that no row explains, and in a slow round over users who have such keys
(store.key_reads). No feed tells of these keys, and one that is removed cannot be read back (protocol-tables 1.3).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pyarrow as pa
import sqlalchemy as sa

from fc_pipeline.backfill.fetch import CHUNK_FIDS, all_of, concurrent_fids
from fc_pipeline.backfill.fid_keys import KeysOfFid, keys_of
from fc_pipeline.backfill.scope import vet_hub
from fc_pipeline.errors import HubRefused, HubUntrusted
from fc_pipeline.hub.client import HubBodyTooLarge, HubDisconnected, HubKeyRefused, HubLacksEndpoint, HubMalformed
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.snapshot import KEYS_READ, ids_before, shard_of
from fc_pipeline.lake.snapshot_log import SNAPSHOT_SCHEMA
from fc_pipeline.reconcile.key_folds import KeyFold
from fc_pipeline.reconcile.staging import FidSnapshot
from fc_pipeline.replica import Replica
from fc_pipeline.store import key_reads
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS

__all__ = ["KeyReads", "is_anything_due", "read_due_keys"]

log = logging.getLogger(__name__)

FIDS_PER_RUN: Final = 1_000
_OF_THE_FID: Final = (HubRefused, HubDisconnected, HubBodyTooLarge, HubMalformed)
"""Errors that may come from the data of one FID, where the hub answers other requests (hub-api T3)."""
_WITH_KEYS: Final = sa.text(
    "SELECT DISTINCT fid FROM signers WHERE fid = ANY (:fids) AND kind = 'onchain' AND key_type = 1 "
    "AND removed_at IS NULL"
)


@dataclass
class KeyReads:
    """What a run did: users read, those that no hub could answer for, rows written."""

    fids: int = 0
    rows: int = 0
    unread: dict[int, str] = field(default_factory=dict[int, str])
    hub_lacks_endpoint: bool = False


def is_anything_due(replica: Replica) -> bool:
    """Whether somebody's keys are to be read now, after a look at what was folded since the last one."""
    found = key_reads.find_unexplained(replica.engine)
    if found:
        log.info("unexplained_keys found=%d", found)
    with replica.engine.connect() as connection:
        return key_reads.is_anything_due(connection)


def read_due_keys(
    replica: Replica, run_id: str, *, most: int = FIDS_PER_RUN, should_stop: Callable[[], bool] = lambda: False
) -> KeyReads:
    """Read and fold the keys of at most so many users whose turn it is.

    A user that the hub cannot answer for does not fail the others. A hub that has no such endpoint is noted and asked
    once. Raises HubError where the hub itself fails, PostgresError, SessionLost.
    """
    with replica.engine.connect() as connection:
        fids = key_reads.due_fids(connection, most)
    done = KeyReads()
    if fids:
        with KeyFold(replica.settings.libpq_url(), run_id, replica.targets) as folding:
            asyncio.run(_read(replica, folding, fids, done, should_stop))
    log.info("keys_read fids=%d rows=%d unread=%d", done.fids, done.rows, len(done.unread))
    return done


async def _read(
    replica: Replica, folding: KeyFold, fids: Sequence[int], done: KeyReads, should_stop: Callable[[], bool]
) -> None:
    async with HubPool(replica.hub_endpoints) as hubs:
        await vet_hub(replica, hubs)
        shard_count = len(await hubs.shards())
        for at in range(0, len(fids), CHUNK_FIDS):
            if should_stop():
                return
            chunk = fids[at : at + CHUNK_FIDS]
            hub = await hubs.follow(None)
            read_at, versions = datetime.now(UTC), await ids_before(hub)
            try:
                found, unread = await _ask(hub, chunk)
            except HubLacksEndpoint:
                log.warning("hub_lacks_keys hub=%s", hub.name)
                await asyncio.to_thread(_note, replica, key_reads.note_lacking)
                done.hub_lacks_endpoint = True
                return
            await hubs.confirm(hub)
            await asyncio.to_thread(_refuse_lost_past, replica, hub.name, found)
            readings = {fid: _reading(fid, shard_of(fid, shard_count), versions, read_at) for fid in found}
            done.rows += await asyncio.to_thread(folding.fold, list(readings.values()), _lines(readings, found))
            await asyncio.to_thread(_note, replica, partial(_note_chunk, fids=list(found), unread=unread))
            done.fids += len(found)
            done.unread |= unread


async def _ask(hub: HubReads, fids: Sequence[int]) -> tuple[dict[int, KeysOfFid], dict[int, str]]:
    """The keys of these users; and those that the hub could not answer for, with the reason. Raises HubError."""
    found: dict[int, KeysOfFid] = {}
    unread: dict[int, str] = {}
    asking = asyncio.Semaphore(concurrent_fids(hub))

    async def ask(fid: int) -> None:
        async with asking:
            try:
                found[fid] = await keys_of(hub, fid)
            except (HubKeyRefused, HubLacksEndpoint):
                raise
            except _OF_THE_FID as error:
                unread[fid] = error.message

    first, *others = fids
    await ask(first)  # if there is no such endpoint, one request says so
    await all_of(ask(fid) for fid in others)
    return found, unread


def _reading(fid: int, shard: int, versions: Mapping[int, int], read_at: datetime) -> FidSnapshot:
    return FidSnapshot(fid, shard, versions[shard], versions[shard], read_at)


def _lines(readings: Mapping[int, FidSnapshot], found: Mapping[int, KeysOfFid]) -> pa.RecordBatch:
    """What was read as lines of a snapshot."""
    lines = [
        (one.fid, one.shard, one.version, kind, record, one.fetched_at)
        for fid, one in readings.items()
        for kind, record in (*((GASLESS_KEYS.name, raw) for raw in found[fid].gasless), (KEYS_READ, b""))
    ]
    columns = zip(*lines, strict=True) if lines else [()] * len(SNAPSHOT_SCHEMA)
    arrays = [pa.array(values, type=one.type) for values, one in zip(columns, SNAPSHOT_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SNAPSHOT_SCHEMA)


def _refuse_lost_past(replica: Replica, hub_name: str, found: Mapping[int, KeysOfFid]) -> None:
    """Raise HubUntrusted if a hub knows no key of the registry of any user who has one: it would close all others."""
    with replica.engine.connect() as connection:
        known = set(connection.scalars(_WITH_KEYS, {"fids": list(found)}))
    if known and not any(found[fid].has_onchain for fid in known):
        raise HubUntrusted(
            f"hub {hub_name} has lost its past: it lists no signer of {len(known)} FIDs that have one, such as "
            f"{min(known)}",
            hint="wait until it has synced again, or name another hub in FC_HUB_URLS",
        )


def _note_chunk(connection: sa.Connection, fids: Sequence[int], unread: Mapping[int, str]) -> None:
    key_reads.note_read(connection, fids)
    key_reads.note_unread(connection, unread)


def _note(replica: Replica, note: Callable[[sa.Connection], None]) -> None:
    with replica.engine.begin() as connection:
        hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
        note(connection)
