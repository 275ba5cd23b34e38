"""The quarantine: listing its records, and folding those that this release understands."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.errors import ConfigError
from fc_pipeline.feed.progress import Progress
from fc_pipeline.feed.rebuild import rebuild_hour
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.fold.outcomes import Written
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hours import Hour
from fc_pipeline.repair.replay import (
    NEVER_REPLAYED,
    CurrentSnapshot,
    QuarantineLine,
    Replayed,
    replay_events,
    replay_snapshots,
)
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger
from fc_pipeline.store.bookkeeping import QUARANTINE, SNAPSHOTS
from fc_pipeline.tables.fid_activity import FID_ACTIVITY

__all__ = ["REASONS", "Replay", "ReplayOutcome", "find_line", "quarantine_counts", "quarantine_lines"]

log = logging.getLogger(__name__)

REASONS: Final = ("undecodable", "misplaced", "invalid", "unknown_type", "nul_removed", "poison_page")
LINES_PER_FOLD: Final = 5_000


def quarantine_lines(
    replica: Replica,
    *,
    reasons: Collection[str] = (),
    names: Collection[str] = (),
    with_resolved: bool = False,
    limit: int | None = None,
) -> list[QuarantineLine]:
    """Lines of the quarantine, the newest first: of these reasons, of these names, or all.

    Raises ConfigError for a reason that does not exist, and for a name of no line or of several.
    """
    unknown = sorted(set(reasons) - set(REASONS))
    if unknown:
        raise ConfigError(f"no reason is called {unknown[0]!r}", hint=f"reasons: {', '.join(REASONS)}")
    if names:
        found = [find_line(replica, name) for name in names]
        return [line for line in found if with_resolved or line.resolved_at is None]
    query = _selected(reasons, with_resolved=with_resolved)
    query = query.order_by(QUARANTINE.c.last_seen.desc(), QUARANTINE.c.event_id.desc()).limit(limit)
    with replica.engine.connect() as connection:
        return [_line(row) for row in connection.execute(query).mappings()]


def quarantine_counts(
    replica: Replica, *, reasons: Collection[str] = (), with_resolved: bool = False
) -> dict[str, int]:
    """How many lines there are by reason."""
    found = _selected(reasons, with_resolved=with_resolved).subquery()
    query = sa.select(found.c.reason, sa.func.count()).group_by(found.c.reason).order_by(found.c.reason)
    with replica.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def find_line(replica: Replica, name: str) -> QuarantineLine:
    """The line of a name: shard-event, or shard-event-hash where there are several. Raises ConfigError."""
    hint = "names are in the first column of `fc-pipeline quarantine list`, such as 1-670761811968-3f2a9c01"
    parts = name.split("-")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdecimal() for part in parts[:2]):
        raise ConfigError(f"{name!r} is no name of a quarantined record", hint=hint)
    columns = QUARANTINE.c
    query = sa.select(QUARANTINE).where(columns.shard == int(parts[0]), columns.event_id == int(parts[1]))
    with replica.engine.connect() as connection:
        found = [_line(row) for row in connection.execute(query).mappings()]
    found = [line for line in found if len(parts) == 2 or line.raw_sha256.hex().startswith(parts[2].lower())]
    if len(found) != 1:
        count = "no record is" if not found else f"{len(found)} records are"
        raise ConfigError(f"{count} called {name!r} in the quarantine", hint=hint)
    return found[0]


def _selected(reasons: Collection[str], *, with_resolved: bool) -> "sa.Select[Any]":
    query = sa.select(QUARANTINE)
    if reasons:
        query = query.where(QUARANTINE.c.reason.in_(list(reasons)))
    return query if with_resolved else query.where(QUARANTINE.c.resolved_at.is_(None))


def _line(row: "sa.RowMapping") -> QuarantineLine:
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    for name in ("raw", "raw_sha256"):
        values[name] = bytes(values[name])
    return QuarantineLine(**values)


@dataclass(slots=True)
class ReplayOutcome:
    """How many records were folded, the rows that this wrote per table, and why each other one is left, by name.

    `hours` are those whose events were folded: their `fid_activity` was counted again.
    """

    resolved: int = 0
    noted: int = 0
    written: dict[str, Written] = field(default_factory=dict[str, Written])
    left: dict[str, str] = field(default_factory=dict[str, str])
    hours: set[Hour] = field(default_factory=set[Hour])

    def add(self, replayed: Replayed, written: dict[str, Written]) -> None:
        """Count one transaction."""
        self.resolved += len(replayed.resolved)
        self.noted += len(replayed.batch.quarantined)
        self.left |= replayed.left
        for name, rows in written.items():
            self.written[name] = self.written.get(name, Written()) + rows


@dataclass
class Replay:
    """Folds unresolved records again: those of these reasons or names, or all."""

    replica: Replica
    run_id: str
    reasons: Collection[str] = ()
    names: Collection[str] = ()

    def execute(self) -> ReplayOutcome:
        """Run it. A record is resolved in the transaction that folds it; one that still cannot be folded is left.

        Raises ConfigError for an unknown reason or name, LakeError if the raw log cannot be read.
        """
        lines = quarantine_lines(self.replica, reasons=self.reasons, names=self.names)
        outcome = ReplayOutcome()
        outcome.left = {line.name: line.detail for line in lines if line.reason in NEVER_REPLAYED}
        able = [line for line in lines if line.reason not in NEVER_REPLAYED]
        url = self.replica.settings.libpq_url()
        with FoldSession(url, self.run_id, targets=self.replica.targets) as session:
            for (shard, hour, _), several in self._by_line(able, outcome).items():
                for part in _rounds(several):
                    self._fold_events(session, shard, hour, part, outcome)
            for shard, several in _by_shard(line for line in able if not line.is_of_feed).items():
                for at in range(0, len(several), LINES_PER_FOLD):
                    self._fold_snapshots(session, shard, several[at : at + LINES_PER_FOLD], outcome)
        self._count_activity(outcome)
        return outcome

    def _by_line(
        self, lines: Iterable[QuarantineLine], outcome: ReplayOutcome
    ) -> dict[tuple[int, Hour, int], list[QuarantineLine]]:
        """The records of the feed by shard, hour and first height of the ledger's line; one that is in none is left."""
        found: defaultdict[tuple[int, Hour, int], list[QuarantineLine]] = defaultdict(list)
        known: dict[tuple[int, int], tuple[str, int] | None] = {}
        with self.replica.engine.connect() as connection:
            for line in lines:
                if not line.is_of_feed:
                    continue
                block = (line.shard, line.height)
                if block not in known:
                    known[block] = ledger.line_of(connection, *block)
                covered = known[block]
                if covered is None:
                    outcome.left[line.name] = "its block is not in the ledger"
                else:
                    found[line.shard, Hour.from_key(covered[0]), covered[1]].append(line)
        return found

    def _fold_events(
        self, session: FoldSession, shard: int, hour: Hour, lines: Sequence[QuarantineLine], outcome: ReplayOutcome
    ) -> None:
        times = self.replica.log.block_times(hour, shard, {line.height for line in lines})
        outcome.left |= {one.name: "the raw log lacks its block" for one in lines if one.height not in times}
        known = [line for line in lines if line.height in times]
        if not known:
            return
        replayed = replay_events(
            *(known, times),
            shard=shard,
            partition=hour.key,
            hour_unix=hour.start_unix,
            shard_count=self.replica.shard_count(),
        )
        self._fold(session, replayed, outcome)
        if replayed.batch.rows:
            outcome.hours.add(hour)

    def _fold_snapshots(
        self, session: FoldSession, shard: int, lines: Sequence[QuarantineLine], outcome: ReplayOutcome
    ) -> None:
        columns = SNAPSHOTS.c
        query = sa.select(columns.fid, columns.folded_version, columns.fetched_at, columns.folded_at).where(
            columns.fid.in_({line.fid for line in lines}), columns.folded_version.is_not(None)
        )
        with self.replica.engine.connect() as connection:
            current = {row[0]: CurrentSnapshot(*row[1:]) for row in connection.execute(query)}
        self._fold(session, replay_snapshots(lines, current, shard=shard), outcome)

    def _fold(self, session: FoldSession, replayed: Replayed, outcome: ReplayOutcome) -> None:
        written: dict[str, Written] = {}
        if replayed.resolved or replayed.batch.quarantined:
            written = session.replay(replayed.batch, [line.as_resolved() for line in replayed.resolved])
        outcome.add(replayed, written)
        log.info(
            "replayed shard=%d resolved=%d left=%d rows=%d",
            replayed.batch.shard,
            len(replayed.resolved),
            len(replayed.left),
            sum(rows.rows for rows in written.values()),
        )

    def _count_activity(self, outcome: ReplayOutcome) -> None:
        """Count the hours again from the raw log: the last count could not read these events."""
        if not outcome.hours:
            return
        with BatchWriter(self.replica, self.run_id, {FID_ACTIVITY.name}, Progress()) as writer:
            for hour in sorted(outcome.hours):
                rebuild_hour(self.replica, writer, hour, {FID_ACTIVITY.name}, counts_more=True)


def _rounds(lines: Iterable[QuarantineLine]) -> list[list[QuarantineLine]]:
    """Lines in groups of which each has an event id once: hubs may have sent different JSON under one."""
    by_id: defaultdict[int, list[QuarantineLine]] = defaultdict(list)
    for line in lines:
        by_id[line.event_id].append(line)
    rounds: list[list[QuarantineLine]] = []
    while by_id:
        taken = sorted(by_id)[:LINES_PER_FOLD]
        rounds.append([by_id[event_id].pop() for event_id in taken])
        for event_id in taken:
            if not by_id[event_id]:
                del by_id[event_id]
    return rounds


def _by_shard(lines: Iterable[QuarantineLine]) -> dict[int, list[QuarantineLine]]:
    found: defaultdict[int, list[QuarantineLine]] = defaultdict(list)
    for line in lines:
        found[line.shard].append(line)
    return found
