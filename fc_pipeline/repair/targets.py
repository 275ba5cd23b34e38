"""Completes new targets: the feed's past from the raw log, everything older from snapshots, without a hole.

A fold after a target was added keeps what concerns it, and earlier folds have their blocks in the ledger: so folding
the covered blocks again for the new targets only, plus the hub's snapshots of them, is complete. A target is done once
both are; interrupted work is repeated, and is idempotent.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import HubError
from fc_pipeline.feed.progress import Progress
from fc_pipeline.feed.rebuild import replay_hour
from fc_pipeline.feed.stopping import Stopped
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.repair.named_hours import hours_to_read
from fc_pipeline.replica import Replica
from fc_pipeline.store import snapshot_ledger
from fc_pipeline.store.bookkeeping import TARGET_CLIENTS, TARGETS
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline.targets import coherence, directory, owner, sweep
from fc_pipeline.targets.completing import completing
from fc_pipeline.targets.recompute import SetChange

__all__ = ["TargetSync", "adopt_settings", "is_anything_due", "is_anything_new", "settle", "sync_targets"]

log = logging.getLogger(__name__)

TARGETS_PER_ROUND: Final = 20_000
NO_LONGER_TARGET: Final = "it was a target no more when its turn came"
MAX_ROUNDS: Final = 100
"""A round adds roots, the next one the users they follow; whatever follows after that is new."""


@dataclass
class TargetSync:
    """The result: completed targets, targets that no hub could answer for, rows of former targets that were deleted."""

    synced: int = 0
    failed: dict[int, str] = field(default_factory=dict[int, str])
    events_replayed: int = 0
    rounds: int = 0
    rows_dropped: dict[str, int] = field(default_factory=dict[str, int])

    def line(self) -> str:
        """All of it in a line for the log."""
        return (
            f"{self.synced:,} targets completed in {self.rounds} rounds, {self.events_replayed:,} events folded again, "
            f"{len(self.failed):,} targets failed, {sum(self.rows_dropped.values()):,} rows of former targets dropped"
        )


def is_anything_due(replica: Replica) -> bool:
    """Whether a target waits for its history, a former one for the removal of its rows, or the settings changed."""
    if replica.targets is None:
        return False
    with replica.engine.connect() as connection:
        failing = directory.numbers(connection).failing
    return bool(failing) or is_anything_new(replica)


def is_anything_new(replica: Replica) -> bool:
    """The same without the targets whose history could not be fetched."""
    with replica.engine.connect() as connection:
        known = directory.numbers(connection)
        unsearched = connection.scalar(
            sa.select(sa.exists(sa.select(TARGET_CLIENTS.c.fid).where(TARGET_CLIENTS.c.searched_at.is_(None))))
        )
    return bool(known.unsynced > known.failing or known.unsettled or unsearched) or not owner.is_adopted(
        replica.engine, replica.owner_settings
    )


def sync_targets(
    replica: Replica,
    run_id: str,
    backfill: Callable[[BackfillScope], Backfill],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> TargetSync:
    """Apply the settings, complete every new target, and settle the former ones.

    `backfill` gives the work over a scope, which must fetch and fold. Targets that the hub cannot answer for are tried
    once and left for the next run. Raises HubError where the hub itself fails, LakeError.
    """
    with completing(replica.engine):
        return _sync(replica, run_id, backfill, should_stop)


def _sync(
    replica: Replica, run_id: str, backfill: Callable[[BackfillScope], Backfill], should_stop: Callable[[], bool]
) -> TargetSync:
    done = TargetSync()
    adopt_settings(replica)
    try:
        while done.rounds < MAX_ROUNDS and not should_stop():
            with replica.engine.connect() as connection:
                pending = [fid for fid in directory.pending_fids(connection) if fid not in done.failed]
                clients = list(
                    connection.scalars(sa.select(TARGET_CLIENTS.c.fid).where(TARGET_CLIENTS.c.searched_at.is_(None)))
                )
            if not pending and not clients:
                break
            done.rounds += 1
            _round(replica, run_id, backfill, pending[:TARGETS_PER_ROUND], clients, done, should_stop)
    except Stopped:
        log.info("stopped run=%s", run_id)
    done.rows_dropped = settle(replica)
    return done


def _round(
    replica: Replica,
    run_id: str,
    backfill: Callable[[BackfillScope], Backfill],
    fids: list[int],
    clients: list[int],
    done: TargetSync,
    should_stop: Callable[[], bool],
) -> None:
    # Any event may be a sign-up through a newly watched app.
    done.events_replayed += _replay(replica, run_id, fids, () if clients else fids, should_stop)
    with replica.engine.begin() as connection:
        searched = sa.update(TARGET_CLIENTS).where(TARGET_CLIENTS.c.fid.in_(clients))
        connection.execute(searched.values(searched_at=sa.func.now()))
    with replica.engine.connect() as connection:
        begun_at: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    work = backfill(BackfillScope.of_fids(fids))
    failure: HubError | None = None
    if fids:
        try:
            work.execute()
        except HubError as error:
            failure = error
    if should_stop():
        raise Stopped
    # Unreadable users are reported only at its end.
    is_cut_short = failure is not None and not (work.progress.unread and not work.progress.fids_left)
    with replica.engine.connect() as connection:
        # A user who was a target before has an old snapshot.
        folded = snapshot_ledger.folded_fids(connection, fids, since=begun_at if is_cut_short else None)
    reasons = {**dict.fromkeys(fids, str(failure) if failure else NO_LONGER_TARGET), **work.progress.unread}
    _note(replica, {fid: reasons[fid] for fid in fids}, folded - work.progress.unread.keys(), done)
    # The follows of a new root are known only now.
    coherence.publish(replica.engine, replica.settings.redis_url, owner.recompute_all(replica.engine))
    if failure is not None and is_cut_short:
        raise failure


def adopt_settings(replica: Replica) -> SetChange | None:
    """Update the set from the settings, if they changed; returns the change."""
    if owner.is_adopted(replica.engine, replica.owner_settings):
        return None
    change = owner.adopt(replica.engine, replica.owner_settings)
    coherence.publish(replica.engine, replica.settings.redis_url, change)
    return change


def _replay(
    replica: Replica, run_id: str, fids: Collection[int], naming: Collection[int], should_stop: Callable[[], bool]
) -> int:
    events = 0
    hours = hours_to_read(replica, naming, should_stop=should_stop)
    log.info("hours_to_read hours=%d targets=%d", len(hours), len(fids))
    with BatchWriter(replica, run_id, tuple(DATA_TABLES), Progress(), only=frozenset(fids)) as writer:
        for hour in hours:
            events += replay_hour(replica, writer, hour, naming, should_stop=should_stop)
    return events


def _note(replica: Replica, reasons: Mapping[int, str], folded: Collection[int], done: TargetSync) -> None:
    """Record which targets are complete, by their folded snapshots, and why the others are not."""
    complete = sorted(reasons.keys() & set(folded))
    with replica.engine.begin() as connection:
        waiting = sa.and_(TARGETS.c.synced_at.is_(None), TARGETS.c.fid.in_(complete))
        values = {"synced_at": sa.func.now(), "attempts": 0, "tried_at": None, "failure": None}
        done.synced += connection.execute(sa.update(TARGETS).where(waiting).values(**values)).rowcount
        for fid in sorted(reasons.keys() - set(complete)):
            done.failed[fid] = reasons[fid]
            connection.execute(
                sa.update(TARGETS)
                .where(TARGETS.c.fid == fid, TARGETS.c.synced_at.is_(None))
                .values(attempts=TARGETS.c.attempts + 1, tried_at=sa.func.now(), failure=reasons[fid])
            )
    log.info("targets_synced fids=%d failed=%d", len(complete), len(done.failed))


def settle(replica: Replica) -> dict[str, int]:
    """Apply FC_REMOVED_TARGETS to former targets' rows; returns the deleted rows, per table."""
    dropped = sweep.settle_former(replica.engine, replica.settings.removed_targets)
    for name, rows in sweep.trim_all(replica.engine).items():
        dropped[name] = dropped.get(name, 0) + rows
    return dropped
