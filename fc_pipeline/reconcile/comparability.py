"""In which tables a difference of an FID is drift, rather than a history that the ledger does not cover."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.hub.wire import height_of
from fc_pipeline.reconcile import covered_history
from fc_pipeline.reconcile.covered_history import ShardHistory
from fc_pipeline.reconcile.outcome import TABLES, Comparability
from fc_pipeline.reconcile.staging import FidSnapshot, Heads
from fc_pipeline.reconcile.targets import ReconciledTargets
from fc_pipeline.store import covered_heights
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = ["LEDGER_WAIT_SECONDS", "ComparabilityCheck"]

LEDGER_WAIT_SECONDS: Final = 30.0
LEDGER_POLL_SECONDS: Final = 0.1
SPREAD_HEIGHTS: Final = 3600
"""The largest distance between the copies of an fname's proof on different shards (hub-api 7.5)."""

_FOLDED_BEFORE: Final = (
    "SELECT s.fid, s.folded_version, s.folded_until_id FROM stage_snapshots AS p CROSS JOIN LATERAL "
    "(SELECT * FROM pipeline.snapshots WHERE fid = p.fid AND folded_version IS NOT NULL OFFSET 0) AS s"
)


@dataclass(frozen=True)
class ComparabilityCheck:
    """Evaluates the staged snapshots of one fold, in its transaction.

    `sleep` and `clock` (seconds) are for waiting until the ledger is where a snapshot is. With `targets`, only those
    whose history is complete are comparable.
    """

    session: WriterSession
    targets: ReconciledTargets | None
    sleep: Callable[[float], None]
    clock: Callable[[], float]

    def evaluate(self, snapshots: Sequence[FidSnapshot], heads: Heads) -> dict[int, Comparability]:
        """How far each FID is comparable; takes the staged records into account.

        Waits while that may still change: the ledger lacks only the newest heights, and a run is reading them.
        """
        since, until = self._bounds()
        deadline = self.clock() + LEDGER_WAIT_SECONDS
        while True:
            histories = {shard: self._history(shard) for shard in heads.after}
            behind = [shard for shard, event_id in heads.after.items() if not _is_reached(histories[shard], event_id)]
            may_be_covered = any(_may_be_covered(histories[one.shard], since.get(one.fid)) for one in snapshots)
            if not behind or not may_be_covered or self.clock() >= deadline or not any(map(self._is_followed, behind)):
                break
            self.sleep(LEDGER_POLL_SECONDS)
        # Names, and contract events of no FID (FID 0), may come from any shard.
        others_are_known = all(_is_known_lately(histories[shard], event_id) for shard, event_id in heads.after.items())
        found: dict[int, Comparability] = {}
        synced = self.targets.synced() if self.targets is not None else None
        for one in snapshots:
            if synced is not None and one.fid not in synced:  # its history is fetched by what folds the feed, too
                found[one.fid] = Comparability(frozenset(), awaits_ledger=True)
                continue
            history, last = histories[one.shard], max(height_of(one.until_id), until.get(one.fid, 0))
            tables = {t for t in TABLES if history.is_covered(t, since=since.get(one.fid), until=last)}
            if not others_are_known:
                tables = tables - {USERNAME_PROOFS.name} if one.fid else set[str]()
            is_behind = history.top is None or (
                (one.shard in behind or last > history.top) and _may_be_covered(history, since.get(one.fid))
            )
            found[one.fid] = Comparability(frozenset(tables), awaits_ledger=is_behind or not others_are_known)
        return found

    def _bounds(self) -> tuple[dict[int, int], dict[int, int]]:
        """Per FID the height from which on the ledger has to have all; and the last that the tables may be of.

        The former is where its history begins, or continues after the snapshot that was folded last. The rows of that
        snapshot may be of any moment while it was read: until the events of these moments are folded, too, one that
        was read earlier but is folded later would contradict them.
        """
        rows = self.session.execute(_FOLDED_BEFORE)
        since = {fid: height_of(version) + 1 for fid, version, _ in rows}
        until = {fid: height_of(until_id) for fid, _, until_id in rows if until_id is not None}
        # No user acts before being registered. The table may have lost that row, so the hub's records count, too.
        for fid, version in self.session.execute(covered_history.REGISTERED):
            since[fid] = max(since.get(fid, 0), height_of(version))
        for fid, origin_height in self.session.execute(covered_history.REGISTERED_SINCE_ORIGIN):
            since[fid] = max(since.get(fid, 0), origin_height)
        return since, until

    def _history(self, shard: int) -> ShardHistory:
        spans = covered_heights.spans(self.session.query, shard)
        gaps = [(row[0], row[1]) for row in self.session.execute(covered_history.GAPS, (shard,))]
        return ShardHistory.of(spans, gaps, self.session.execute(covered_history.ORIGIN, (shard,))[0][0])

    def _is_followed(self, shard: int) -> bool:
        return self.session.execute(covered_history.FOLLOWED, (shard,))[0][0] > 0


def _is_reached(history: ShardHistory, event_id: int) -> bool:
    """Whether the ledger is where a snapshot ended."""
    top = history.top
    return top is not None and top >= height_of(event_id)


def _is_known_lately(history: ShardHistory, event_id: int) -> bool:
    """Whether all is folded that this shard may have had before an FID's own shard, which has its own copy of it."""
    tables = (USERNAME_PROOFS.name, ON_CHAIN_EVENTS.name)
    return all(history.is_covered_for(name, SPREAD_HEIGHTS, until=height_of(event_id)) for name in tables)


def _may_be_covered(history: ShardHistory, since: int | None) -> bool:
    """Whether an FID's history is covered as far as the ledger goes."""
    top = history.top
    return top is not None and any(history.is_covered(table, since=since, until=top) for table in TABLES)
