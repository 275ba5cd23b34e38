"""Chunk after chunk of FIDs from the hubs that are usable, each vetted before and after it."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.backfill.fetch import FetchedChunk, fetch_chunk
from fc_pipeline.backfill.held_names import held_names
from fc_pipeline.backfill.lost_past import refuse_lost_past
from fc_pipeline.errors import HubError, HubUnavailable, HubUntrusted
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.grpc_channel import NodeUnavailable
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.hub.grpc_nodes import GrpcNodes
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.vetting import FAILOVER_ERRORS
from fc_pipeline.lake.snapshot_log import SnapshotLog
from fc_pipeline.replica import Replica
from fc_pipeline.store.retry import POSTGRES_ERRORS, RetryBudget

__all__ = ["ChunkFetcher"]

log = logging.getLogger(__name__)

RETRY_BUDGET_SECONDS: Final = 300.0
"""How long a hub that fails in the middle of a run is retried."""
MAX_PAUSE_SECONDS: Final = 30.0

Chunk = Sequence[tuple[int, int]]
"""FIDs with their shards."""


@dataclass(frozen=True)
class ChunkFetcher:
    """Puts the snapshots of chunks into the lake. Once `should_stop` returns True, no further chunk is begun."""

    replica: Replica
    log: SnapshotLog
    run_id: str
    should_stop: Callable[[], bool]

    async def fetched(
        self, hubs: HubPool, chunks: AsyncIterator[Chunk], nodes: GrpcNodes | None = None
    ) -> AsyncGenerator[FetchedChunk]:
        """Chunk by chunk, in their order; with `nodes`, leaves that are no rows, too. Raises HubError and LakeError.

        Where hubs may be asked without limit, one is begun before the last is done: its requests fill the moments in
        which that one is vetted and written down. Within a limit, both would only take longer.
        """
        at_once = 2 if all(one.requests_per_second is None for one in self.replica.hub_endpoints) else 1
        begun: deque[asyncio.Task[FetchedChunk]] = deque()
        try:
            while True:
                while len(begun) < at_once and not self.should_stop() and (chunk := await anext(chunks, None)):
                    begun.append(asyncio.create_task(self._fetch(hubs, chunk, nodes)))
                if not begun:
                    return
                yield await begun.popleft()
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _fetch(self, hubs: HubPool, chunk: Chunk, nodes: GrpcNodes | None) -> FetchedChunk:
        """A chunk from the first usable hub; a failing hub is replaced by another, or retried for a while.

        Answers count only if the hub is usable afterwards, too: a hub that was reset has lost what is requested.
        """
        retry_until: float | None = None
        pause_seconds = 1.0
        retry_budget = RetryBudget(f"run {self.run_id}", should_stop=self.should_stop)
        untrusted: dict[HubReads, HubUntrusted] = {}
        while True:
            hub: HubReads | None = None
            node: GrpcNode | None = None
            try:
                hub = await hubs.follow(None)
                if hub in untrusted:
                    raise untrusted[hub]
                node = await _usable(nodes, hub)
                held = await asyncio.to_thread(held_names, self.replica.engine, [fid for fid, _ in chunk])
                fetched = await fetch_chunk(hub, self.log, chunk, held, node)
                await hubs.confirm(hub)
                await asyncio.to_thread(refuse_lost_past, self.replica, hub.name, fetched)
            except POSTGRES_ERRORS as error:  # whether the hub is usable is checked against the ledger
                await asyncio.to_thread(retry_budget.pause_after, error)
                continue
            except HubUntrusted as error:
                if hub is None or hub in untrusted:
                    raise
                hubs.leave(hub, error)
                untrusted[hub] = error
                continue
            except FAILOVER_ERRORS as error:
                now = time.monotonic()
                retry_until = now + RETRY_BUDGET_SECONDS if retry_until is None else retry_until
                if now > retry_until or not isinstance(error, HubUnavailable):
                    raise
                _leave(error, hubs, hub, nodes, node)
                log.warning("chunk_again first_fid=%s reason=%r", chunk[0][0], str(error))
            else:
                return fetched
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(MAX_PAUSE_SECONDS, pause_seconds * 2)


async def _usable(nodes: GrpcNodes | None, hub: HubReads) -> GrpcNode | None:
    return None if nodes is None else await nodes.usable(await hub.info())


def _leave(
    error: HubError, hubs: HubPool, hub: HubReads | None, nodes: GrpcNodes | None, node: GrpcNode | None
) -> None:
    """Prefer another one to whoever failed."""
    if isinstance(error, NodeUnavailable):
        if nodes is not None and node is not None:
            nodes.leave(node)
    elif hub is not None:
        hubs.leave(hub, error)
