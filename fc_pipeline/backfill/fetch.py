"""hub → lake: the snapshots of a chunk of FIDs, all from one hub, between two readings of its heads."""

import asyncio
import sys
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from fc_pipeline.backfill.fid_leaves import FidLeaves
from fc_pipeline.backfill.fid_records import snapshot
from fc_pipeline.errors import HubRefused
from fc_pipeline.hub.client import HubBodyTooLarge, HubDisconnected, HubKeyRefused, HubMalformed
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.snapshot import STATEMENTS, SnapshotPage, ids_after, ids_before
from fc_pipeline.lake.snapshot_log import Heads, SnapshotFile, SnapshotLog, bucket_of
from fc_pipeline.store.snapshot_ledger import SnapshotLine

__all__ = ["CHUNK_FIDS", "INFO_REQUESTS", "FetchedChunk", "all_of", "concurrent_fids", "fetch_chunk"]

CHUNK_FIDS: Final = 64
CONCURRENT_FIDS: Final = 16
CONCURRENT_FIDS_HERE: Final = 8
"""With a hub on this machine there is no latency to hide, only its work."""
INFO_REQUESTS: Final = 2
"""Requests of a chunk to a hub beside those of its FIDs."""
BIG_FID_BYTES: Final = 4 * 1024 * 1024
"""An FID with more bytes than this gets a file of its own, written as its records arrive."""

_OF_THE_FID: Final = (HubRefused, HubDisconnected, HubBodyTooLarge, HubMalformed)
"""Errors that may come from the data of one FID, where the hub answers other requests (hub-api T3)."""


def concurrent_fids(hub: HubReads) -> int:
    """How many FIDs are requested concurrently; the hub's request budget may allow fewer."""
    return CONCURRENT_FIDS_HERE if hub.client.endpoint.is_loopback else CONCURRENT_FIDS


_REGISTRATION: Final = b"EVENT_TYPE_ID_REGISTER"


@dataclass(frozen=True)
class FetchedChunk:
    """What was fetched, and the FIDs that could not be read, with the reason.

    `registered` are the FIDs whose registration the hub returned.
    """

    snapshots: list[SnapshotLine]
    unread: dict[int, str]
    requests: int
    registered: frozenset[int] = frozenset()


@dataclass
class _Fetch:
    """One chunk while it is fetched."""

    hub: HubReads
    log: SnapshotLog
    versions: Mapping[int, int]
    fetched_at: datetime
    held_names: Mapping[int, Collection[str]]
    node: GrpcNode | None = None
    files: ExitStack = field(default_factory=ExitStack)
    shared: dict[int, SnapshotFile] = field(default_factory=dict[int, SnapshotFile])
    opened: list[SnapshotFile] = field(default_factory=list[SnapshotFile])
    found: list[SnapshotLine] = field(default_factory=list[SnapshotLine])
    unread: dict[int, str] = field(default_factory=dict[int, str])
    registered: set[int] = field(default_factory=set[int])
    requests: int = 0
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.asking = asyncio.Semaphore(concurrent_fids(self.hub))

    async def fid(self, fid: int, shard: int) -> None:
        """Fetch one FID and write its records; an FID that the hub cannot answer for is noted."""
        async with self.asking:
            hub = HubReads(self.hub.client.counting())
            leaves = None if self.node is None else FidLeaves(self.node, fid, sorted(self.versions))
            try:
                await self._fid(hub, fid, shard, leaves)
            except HubKeyRefused:
                raise
            except _OF_THE_FID as error:
                self.unread[fid] = error.message
            finally:
                self.requests += _requests(hub, leaves)

    async def _fid(self, hub: HubReads, fid: int, shard: int, leaves: FidLeaves | None) -> None:
        pages: list[SnapshotPage] = []
        own: SnapshotFile | None = None
        size_bytes = records = 0
        async for page in snapshot(hub, fid, self.held_names.get(fid, ()), leaves):
            pages.append(page)
            if page.kind == "on_chain_events" and any(_REGISTRATION in record for record in page.records):
                self.registered.add(fid)
            records += len(page.records) if page.kind not in STATEMENTS else 0
            size_bytes += sum(map(len, page.records))
            if size_bytes >= BIG_FID_BYTES:
                own = own or self._open(bucket_of(fid))
                await self._write(own, fid, shard, pages)
                pages, size_bytes = [], 0
        file = own or self._shared(bucket_of(fid))
        if pages or own is None:
            await self._write(file, fid, shard, pages)
        version = self.versions[shard]
        line = SnapshotLine(
            fid, shard, bucket_of(fid), version, version, file.path, records, _requests(hub, leaves), self.fetched_at
        )
        self.found.append(line)

    def _shared(self, bucket: int) -> SnapshotFile:
        if bucket not in self.shared:
            self.shared[bucket] = self._open(bucket)
        return self.shared[bucket]

    def _open(self, bucket: int) -> SnapshotFile:
        file = self.files.enter_context(self.log.writing(bucket, self.fetched_at))
        self.opened.append(file)
        return file

    async def _write(self, file: SnapshotFile, fid: int, shard: int, pages: list[SnapshotPage]) -> None:
        async with self.writing:
            # Most FIDs are held in memory first, which takes less time than to change threads.
            if file.add(fid, shard, self.versions[shard], pages):
                await asyncio.to_thread(file.flush)

    def close(self, heads: Heads) -> None:
        """Have every file on disk."""
        for file in self.opened:
            file.note_heads(heads)
        self.files.close()


async def all_of(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run the tasks concurrently; the first error cancels the others and is raised as it is."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _requests(hub: HubReads, leaves: FidLeaves | None) -> int:
    return hub.client.requests + (leaves.requests if leaves is not None else 0)


async def fetch_chunk(
    hub: HubReads,
    log: SnapshotLog,
    fids: Sequence[tuple[int, int]],
    held_names: Mapping[int, Collection[str]],
    node: GrpcNode | None = None,
) -> FetchedChunk:
    """Fetch FIDs, given with their shards, from one hub; every file is on disk when this returns.

    `held_names` are the names that each FID has in the tables, which the hub's lists may leave out. An FID that the hub
    cannot answer for does not fail the others. A `node`, of the same network, is asked over gRPC for the leaves that
    are no rows; its head counts as well as the hub's. Raises HubError where the hub itself fails, and LakeError;
    nothing counts as fetched then.
    """
    fetched_at = datetime.now(UTC)
    sources = (hub,) if node is None else (hub, node)
    fetch = _Fetch(hub, log, await ids_before(*sources), fetched_at, held_names, node)
    try:
        await all_of(fetch.fid(fid, shard) for fid, shard in fids)
        until_ids = await ids_after(*sources)
        await asyncio.to_thread(fetch.close, Heads(fetch.versions, until_ids))
    except BaseException:
        fetch.files.__exit__(*sys.exc_info())
        raise
    snapshots = [replace(one, until_id=until_ids[one.shard]) for one in sorted(fetch.found, key=lambda one: one.fid)]
    requests = fetch.requests + INFO_REQUESTS * len(sources)
    return FetchedChunk(snapshots, fetch.unread, requests, frozenset(fetch.registered))
