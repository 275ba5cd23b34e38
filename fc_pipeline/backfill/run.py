"""hub → lake → tables, FID by FID: what Dagster's snapshot assets, `fc-pipeline backfill` and tests call.

Per chunk of FIDs: the shards' heads, the answers, the heads again, Parquet in the lake, a line per FID in
`pipeline.snapshots`. What was fetched while a fold was at work is folded next, in one transaction if it is little. The
next run of the same scope folds what a run that died had fetched from the lake, without fetching it again.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from itertools import chain
from operator import or_
from typing import Final, TypeVar

from fc_pipeline.backfill.chunks import ChunkFetcher
from fc_pipeline.backfill.equal_hashes import EqualHashes
from fc_pipeline.backfill.fetch import CHUNK_FIDS, FetchedChunk
from fc_pipeline.backfill.grouping import FIDS_PER_FOLD, chunks_of_shards, groups_of_lines, joined
from fc_pipeline.backfill.progress import BackfillProgress, BucketProgress
from fc_pipeline.backfill.round_plan import RoundPlan
from fc_pipeline.backfill.scope import BackfillScope, vet_hub
from fc_pipeline.errors import HubError, LakeError
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.grpc_nodes import GrpcNodes
from fc_pipeline.hub.snapshot import CONTRACTS_FID
from fc_pipeline.lake.snapshot_log import SnapshotLog, bucket_of
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.reconcile.reconciler import Reconciler
from fc_pipeline.reconcile.staging import FidSnapshot
from fc_pipeline.replica import Replica, grpc_endpoints
from fc_pipeline.store import hub_requests, snapshot_ledger
from fc_pipeline.store.retry import POSTGRES_ERRORS, RetryBudget, explained, with_retries
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.snapshot_ledger import SnapshotLine

__all__ = ["Backfill", "ProvedUsers"]

T = TypeVar("T")
ProvedUsers = Callable[[Replica, HubPool, GrpcNodes, Sequence[int]], Awaitable[EqualHashes]]
log = logging.getLogger(__name__)

MAX_WAITING_CHUNKS: Final = FIDS_PER_FOLD // CHUNK_FIDS
"""How many chunks are fetched while others are folded."""
ORPHANED_FOR: Final = timedelta(minutes=15)
"""A file may be on disk for a moment before its lines are written: no other run deletes it meanwhile."""
_NAMED_FIDS: Final = 10


@dataclass
class Backfill:
    """Fetches the snapshots of a scope into the lake, folds them, or both.

    Folding alone takes what the lake has. `on_bucket` is called when a bucket is done, `on_progress` every
    `progress_seconds`, both from threads of their own. Once `should_stop` returns True, it ends after the current
    chunk. `proved_users` says of which FIDs no hub need be read; runs with the same `round_name` share one
    list of all FIDs.
    """

    replica: Replica
    run_id: str
    scope: BackfillScope
    fetch: bool = True
    fold: bool = True
    should_stop: Callable[[], bool] = lambda: False
    on_bucket: Callable[[BucketProgress], None] = lambda bucket: None
    on_progress: Callable[[BackfillProgress], None] = lambda progress: None
    progress_seconds: float = 10.0
    proved_users: ProvedUsers | None = None
    round_name: str | None = None
    progress: BackfillProgress = field(default_factory=BackfillProgress)

    def __post_init__(self) -> None:
        """Open the lake. Raises LakeError."""
        self._log = SnapshotLog.open(self.replica.settings.lake_uri)
        self._plan = RoundPlan(self.replica, self.run_id, self.scope, self.round_name)
        self._buckets_to_load: list[int] = []
        self._stored: deque[SnapshotLine] = deque()
        self._reported_at = time.monotonic()

    def execute(self) -> BackfillProgress:
        """Run it. Raises FcPipelineError; FIDs that no hub can answer for are reported after all others are done."""
        try:
            return self._execute()
        except POSTGRES_ERRORS as error:
            raise explained(error) from error
        finally:
            hub_requests.note(self.replica.engine)

    def _execute(self) -> BackfillProgress:
        with ExitStack() as stack:
            url = self.replica.settings.libpq_url()
            reconciler = stack.enter_context(Reconciler(url, self.run_id, self.replica.targets)) if self.fold else None
            if self.fetch:
                asyncio.run(self._walk(reconciler))
            elif reconciler is not None:
                self._fold_stored(reconciler)
        self.on_progress(self.progress)
        if self.progress.unread:
            raise _unread(self.progress.unread)
        return self.progress

    async def _walk(self, reconciler: Reconciler | None) -> None:
        endpoints = grpc_endpoints(self.replica.settings)
        async with HubPool(self.replica.hub_endpoints) as hubs, GrpcNodes(endpoints) as nodes:
            await self._open(hubs)
            folding: asyncio.Task[None] | None = None
            try:
                waiting: list[FetchedChunk] = []
                fetcher = ChunkFetcher(self.replica, self._log, self.run_id, self.should_stop)
                missing = chunks_of_shards(self._missing(hubs, nodes), CHUNK_FIDS)
                async with aclosing(missing), aclosing(fetcher.fetched(hubs, missing, nodes)) as chunks:
                    async for fetched in chunks:
                        await asyncio.to_thread(self._record, fetched)
                        waiting.append(fetched)
                        if folding is not None and (folding.done() or len(waiting) == MAX_WAITING_CHUNKS):
                            await folding
                            folding = None
                        if folding is None:
                            folding = asyncio.create_task(asyncio.to_thread(self._settle, reconciler, waiting))
                            waiting = []
                if folding is not None:
                    await folding
                    folding = None
                await asyncio.to_thread(self._settle, reconciler, waiting)
            finally:
                if folding is not None:
                    await folding
            if not self._buckets_to_load and not self.progress.fids_left and not self.progress.unread:
                await asyncio.to_thread(self._retried, self._plan.finish)

    def _retried(self, work: Callable[[], T]) -> T:
        """Do work that resumes from what Postgres has, and retry it after a transient failure."""
        return with_retries(f"run {self.run_id}", work, should_stop=self.should_stop)

    async def _open(self, hubs: HubPool) -> None:
        """Begin the rounds, by hubs that continue the history already read, as the ledger shows."""
        retry_budget = RetryBudget(f"run {self.run_id}", should_stop=self.should_stop)
        while True:
            try:
                await vet_hub(self.replica, hubs)
                await self._plan.open(hubs)
                break
            except POSTGRES_ERRORS as error:
                await asyncio.to_thread(retry_budget.pause_after, error)
        self.progress.requests += self._plan.requests
        for bucket in self.scope.buckets:
            self.progress.expect(bucket, self._plan.expected.get(bucket, 0))
        self._buckets_to_load = list(self.scope.buckets)
        self._log_progress()

    async def _missing(self, hubs: HubPool, nodes: GrpcNodes) -> AsyncGenerator[tuple[int, int]]:
        """The FIDs to fetch, with their shards, bucket by bucket; each bucket is loaded when its turn comes."""
        while self._buckets_to_load:
            plan = await asyncio.to_thread(self._retried, partial(self._plan.load, self._buckets_to_load[0]))
            missing = await self._without_proved(hubs, nodes, plan.missing)
            stored = list(plan.stored) if self.fold else []
            self.progress.expect(plan.bucket, len(missing) + len(stored))
            del self._buckets_to_load[0]
            self._stored.extend(stored)
            if not missing and not stored:
                await asyncio.to_thread(self._end, [plan.bucket])
            for one in missing:
                yield one

    async def _without_proved(
        self, hubs: HubPool, nodes: GrpcNodes, missing: Sequence[tuple[int, int]]
    ) -> Sequence[tuple[int, int]]:
        """Those of these FIDs that are to be read."""
        if self.proved_users is None:
            return missing
        equal = await self.proved_users(self.replica, hubs, nodes, [fid for fid, _ in missing if fid != CONTRACTS_FID])
        self.progress.equal_fids += len(equal.fids)
        self.progress.requests += equal.requests
        return [one for one in missing if one[0] not in equal.fids]

    def _record(self, fetched: FetchedChunk) -> None:
        self._retried(lambda: self._write_lines(fetched))
        self.progress.requests += fetched.requests
        self.progress.add_fetched(fetched.snapshots)
        for fid, reason in fetched.unread.items():
            self.progress.buckets[bucket_of(fid)].unread[fid] = reason
            log.warning("fid_unread fid=%s reason=%r", fid, reason)

    def _write_lines(self, fetched: FetchedChunk) -> None:
        with self.replica.engine.begin() as connection:
            hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
            snapshot_ledger.record(connection, fetched.snapshots, self.run_id)
            snapshot_ledger.add_to_rounds(connection, self.scope.name, self._plan.rounds, fetched.snapshots)

    def _settle(self, reconciler: Reconciler | None, chunks: Sequence[FetchedChunk]) -> None:
        """What remains to be done of chunks that were fetched, and of what an interrupted run has fetched."""
        lines = [line for fetched in chunks for line in fetched.snapshots]
        while self._stored:  # a bucket that is loaded meanwhile may add some
            lines.append(self._stored.popleft())
        if reconciler is None:
            self._finish([line.fid for line in lines])
        else:
            self._fold(reconciler, lines)
        self._finish([fid for fetched in chunks for fid in fetched.unread])

    def _fold_stored(self, reconciler: Reconciler) -> None:
        """Fold the newest snapshots that the lake has, bucket by bucket."""
        for bucket in self.scope.buckets:
            if self.should_stop():
                return
            stored = self._retried(partial(self._stored_lines, bucket))
            self.progress.expect(bucket, len(stored))
            if stored:
                self._fold(reconciler, stored)
            else:
                self._end([bucket])
        if not self.progress.fids:
            raise LakeError(
                "the lake has no snapshots of these FIDs", hint="materialise fid_snapshots of their buckets first"
            )

    def _stored_lines(self, bucket: int) -> list[SnapshotLine]:
        with self.replica.engine.connect() as connection:
            return snapshot_ledger.lines(connection, [bucket], fids=self.scope.fids)

    def _fold(self, reconciler: Reconciler, lines: Sequence[SnapshotLine]) -> None:
        for group in groups_of_lines(lines):
            if self.should_stop():
                return
            started = time.monotonic()
            folded = with_retries(
                f"run {self.run_id}",
                partial(self._fold_group, reconciler, group),
                reopen=reconciler.reopen,
                should_stop=self.should_stop,
            )
            self.progress.add_folded(group, folded)
            log.info(
                "folded_snapshots fids=%s messages=%s seconds=%.2f drift=%s",
                len(group),
                folded.messages,
                time.monotonic() - started,
                sum(folded.drift.values()),
            )
            self._finish([line.fid for line in group])

    def _fold_group(self, reconciler: Reconciler, group: Sequence[SnapshotLine]) -> Reconciled:
        by_file: defaultdict[str, list[int]] = defaultdict(list)
        for line in group:
            by_file[line.file].append(line.fid)
        records = joined(chain.from_iterable(self._log.read(path, fids) for path, fids in by_file.items()))
        heads = reduce(or_, map(self._log.heads, by_file))
        snapshots = [FidSnapshot(one.fid, one.shard, one.version, one.until_id, one.fetched_at) for one in group]
        return reconciler.fold(snapshots, records, ids_before=heads.before, ids_after=heads.after)

    def _finish(self, fids: Sequence[int]) -> None:
        """Nothing is left to do for these FIDs."""
        self._end(self.progress.finish(fids))
        self._log_progress()
        if time.monotonic() - self._reported_at >= self.progress_seconds:
            self._reported_at = time.monotonic()
            self.on_progress(self.progress)

    def _log_progress(self) -> None:
        """Log the current numbers."""
        log.debug("backfill_progress", extra={"progress": self.progress})

    def _end(self, buckets: Sequence[int]) -> None:
        """Buckets are done: delete the files that no ledger line refers to any more."""
        if self.fetch:
            self._delete_orphans(buckets)
        for bucket in buckets:
            self.on_bucket(self.progress.buckets[bucket])

    def _delete_orphans(self, buckets: Sequence[int]) -> None:
        files = [file for bucket in buckets for file in self._log.files(bucket).items()]
        named = self._retried(lambda: self._named_files(buckets))
        old = datetime.now(UTC) - ORPHANED_FOR
        self._log.delete([path for path, begun_at in files if path not in named and begun_at < old])
        for bucket in buckets:
            self._log.delete_unfinished(bucket)

    def _named_files(self, buckets: Sequence[int]) -> set[str]:
        with self.replica.engine.connect() as connection:
            return snapshot_ledger.named_files(connection, buckets)


def _unread(unread: dict[int, str]) -> HubError:
    fids = sorted(unread)
    named = ", ".join(map(str, fids[:_NAMED_FIDS])) + (" …" if len(fids) > _NAMED_FIDS else "")
    return HubError(
        f"{len(fids):,} FIDs could not be read: {named}; the first: {unread[fids[0]]}",
        hint="all others are done; the next run over the same buckets asks for these again",
    )
