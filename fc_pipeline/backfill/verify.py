"""The tables against the hub, without writing to either: snapshots of some users, compared and discarded."""

import asyncio
import random
import re
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Final

from fc_pipeline.backfill.equal_hashes import equal_hashes
from fc_pipeline.backfill.fetch import CHUNK_FIDS, FetchedChunk, fetch_chunk
from fc_pipeline.backfill.held_names import held_names
from fc_pipeline.backfill.scope import BackfillScope, find_fids, vet_hub
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.grpc_nodes import GrpcNodes
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.snapshot import CONTRACTS_FID
from fc_pipeline.hub.wire import first_event_id, height_of
from fc_pipeline.lake.snapshot_log import Heads, SnapshotLog
from fc_pipeline.live_set.state import LiveSetView
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.reconcile.reconciler import Reconciler
from fc_pipeline.reconcile.staging import FidSnapshot
from fc_pipeline.replica import Replica, grpc_endpoints
from fc_pipeline.store import ledger

__all__ = ["Verification", "verify"]

RUN_ID: Final = "verify"
PAGE_SIZE: Final = 1000
MAX_PAGES: Final = 20
"""If there are more events since the last fold, the tables are too old to be compared."""
_FIDS: Final = re.compile(rb'"fid":(\d{1,19})\b')


@dataclass
class Verification:
    """What was found.

    `equal_fids` of the FIDs are equal by the hashes of tries and were not read. `unread` are FIDs that no hub could
    answer for, with the reason; `unknown_fids` those that the hub has no record of.
    """

    fids: int = 0
    fids_done: int = 0
    equal_fids: int = 0
    requests: int = 0
    compared: Reconciled = field(default_factory=Reconciled)
    unread: dict[int, str] = field(default_factory=dict[int, str])
    unknown_fids: list[int] = field(default_factory=list[int])

    @property
    def drift(self) -> int:
        """Rows that are wrong although their history is covered."""
        return sum(self.compared.drift.values())

    @property
    def comparable_fids(self) -> int:
        """How many FIDs that the hub knows could be compared, by hash or in at least one table."""
        unknown = set(self.unknown_fids)
        return self.equal_fids + sum(
            bool(one.tables) for fid, one in self.compared.comparability.items() if fid not in unknown
        )

    @property
    def awaiting_fids(self) -> list[int]:
        """FIDs that cannot be compared, or not in every table, until the ledger has caught up with the hub."""
        return self._not_comparable(awaits_ledger=True)

    @property
    def uncovered_fids(self) -> list[int]:
        """FIDs that cannot be compared, or not in every table, because their history was never read."""
        return self._not_comparable(awaits_ledger=False)

    @property
    def incomparable_fids(self) -> set[int]:
        """All of these; FID 0 may be one, which is no user, and to which nobody needs to do anything."""
        return {fid for fid, one in self.compared.comparability.items() if not one.is_whole}

    def _not_comparable(self, *, awaits_ledger: bool) -> list[int]:
        of_users = self.incomparable_fids.difference(self.unknown_fids, [CONTRACTS_FID])
        return sorted(f for f in of_users if self.compared.comparability[f].awaits_ledger == awaits_ledger)

    @property
    def history(self) -> int:
        """Rows that differ because the history is not covered."""
        return sum(self.compared.history.values())


def verify(
    replica: Replica,
    *,
    fids: Collection[int] | None = None,
    sample: int | None = None,
    on_progress: Callable[[Verification], None] = lambda found: None,
    seed: int | None = None,
    hashes_first: bool = True,
) -> Verification:
    """Compare these users, or a random sample of all that hub or replica know, or all of them.

    With `hashes_first` and where a hub is to be asked over gRPC, users whose leaves are the hub's are not read.

    The records pass through a folder of this machine that is deleted afterwards. Raises HubError if no hub answers.
    """
    with tempfile.TemporaryDirectory(prefix="fc_pipeline-verify-") as folder:
        work = _Verify(replica, SnapshotLog.open(folder), on_progress, hashes_first)
        return asyncio.run(work.run(fids, sample, random.Random(seed)))  # noqa: S311 - a sample, no secret


@dataclass
class _Verify:
    replica: Replica
    log: SnapshotLog
    on_progress: Callable[[Verification], None]
    hashes_first: bool
    found: Verification = field(default_factory=Verification)

    async def run(self, fids: Collection[int] | None, sample: int | None, rng: random.Random) -> Verification:
        """Chunk by chunk; the next one is fetched when the last one is compared and its file deleted."""
        scope = BackfillScope() if fids is None else BackfillScope.of_fids(fids)
        with Reconciler(
            self.replica.settings.libpq_url(), RUN_ID, self.replica.targets, is_read_only=True
        ) as reconciler:
            async with HubPool(self.replica.hub_endpoints) as hubs:
                await vet_hub(self.replica, hubs)
                listed = await find_fids(self.replica, hubs, scope)
                self.found.requests += listed.requests
                chosen = listed.with_shards()
                if sample is not None and sample < len(chosen):
                    chosen = sorted(rng.sample(chosen, sample))
                self.found.fids = len(chosen)
                self.on_progress(self.found)
                chosen = await self._differing(hubs, chosen)
                for at in range(0, len(chosen), CHUNK_FIDS):
                    chunk = chosen[at : at + CHUNK_FIDS]
                    hub = await hubs.follow(None)
                    held = await asyncio.to_thread(held_names, self.replica.engine, [fid for fid, _ in chunk])
                    fetched = await fetch_chunk(hub, self.log, chunk, held)
                    unfolded = await self._unfolded(hub, fetched)
                    await asyncio.to_thread(self._compare, reconciler, fetched, unfolded)
                    self.found.fids_done += len(chunk)
                    self.on_progress(self.found)
        return self.found

    async def _differing(self, hubs: HubPool, chosen: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those of the FIDs, given with their shards, whose hashes do not say that they are equal."""
        shard_count = self.replica.shard_count()
        if not self.hashes_first or shard_count is None:
            return list(chosen)
        async with GrpcNodes(grpc_endpoints(self.replica.settings)) as nodes:
            node = await nodes.usable(await hubs.info())
            if node is None:
                return list(chosen)
            with LiveSetView(self.replica.settings.libpq_url(), RUN_ID, shard_count) as view:
                equal = await equal_hashes(view, node, [fid for fid, _ in chosen])
        self.found.requests += equal.requests
        self.found.equal_fids = self.found.fids_done = len(equal.fids)
        self.on_progress(self.found)
        return [one for one in chosen if one[0] not in equal.fids]

    async def _unfolded(self, hub: HubReads, fetched: FetchedChunk) -> dict[int, "_Unfolded"]:
        """Per shard the events between the end of the ledger and the snapshots, where these are few."""
        found: dict[int, _Unfolded] = {}
        for shard, until_id in self._heads(fetched).after.items():
            with self.replica.engine.connect() as connection:
                last = ledger.last_covered(connection, shard)
            if last is None or last[0] >= height_of(until_id):
                continue
            first_id = first_event_id(last[0] + 1)
            raws: list[bytes] = []
            for _ in range(MAX_PAGES):
                page = await hub.events(shard, first_id, until_id + 1)
                self.found.requests += 1
                raws += page
                ids, _, _ = decode_events(page)
                if len(page) < PAGE_SIZE:
                    found[shard] = _Unfolded.of(first_id - 1, raws)
                    break
                first_id = ids[-1] + 1
        return found

    def _heads(self, fetched: FetchedChunk) -> Heads:
        files = {line.file for line in fetched.snapshots}
        return reduce(or_, map(self.log.heads, files)) if files else Heads({}, {})

    def _compare(self, reconciler: Reconciler, fetched: FetchedChunk, unfolded: dict[int, "_Unfolded"]) -> None:
        by_file: dict[str, list[int]] = {}
        for line in fetched.snapshots:
            by_file.setdefault(line.file, []).append(line.fid)
        heads = self._heads(fetched)
        snapshots: list[FidSnapshot] = []
        for line in fetched.snapshots:
            later = unfolded.get(line.shard)
            # An FID without such events can be compared before they are folded.
            until_id = later.after_id if later is not None and line.fid not in later.fids else line.until_id
            snapshots.append(FidSnapshot(line.fid, line.shard, line.version, until_id, line.fetched_at))
        if snapshots:
            after = {
                s: unfolded[s].after_id if s in unfolded and not unfolded[s].names else i
                for s, i in heads.after.items()
            }
            records = (batch for path, fids in by_file.items() for batch in self.log.read(path, fids))
            self.found.compared += reconciler.fold(
                snapshots, records, ids_before=heads.before, ids_after=after, write=False
            )
        self.found.requests += fetched.requests
        self.found.unread.update(fetched.unread)
        self.found.unknown_fids += [
            line.fid for line in fetched.snapshots if not line.records and line.fid != CONTRACTS_FID
        ]
        self.log.delete(list(by_file))


@dataclass(frozen=True)
class _Unfolded:
    """Events of a shard after the last one that the ledger has: their FIDs, and whether names are among them."""

    after_id: int
    fids: frozenset[int]
    names: bool

    @classmethod
    def of(cls, after_id: int, raws: Sequence[bytes]) -> "_Unfolded":
        """Every FID that occurs in an event counts as concerned by it."""
        text = b"".join(raws)
        return cls(after_id, frozenset(map(int, _FIDS.findall(text))), b"MERGE_USERNAME_PROOF" in text)
