"""Snapshots → tables: a snapshot's word stands wherever no later event has decided, and what it corrects is told.

Its version is an event id: everything up to it is in the answers. So a row that a later event decided is left alone, a
row as the hub has it is not written at all, and any other becomes what the hub says, or a tombstone. Events that arrive
late, from before the snapshot or after it, then find their place by their own ids.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import adbc_driver_manager
import pyarrow as pa

from fc_pipeline.errors import SessionLost
from fc_pipeline.fold import quarantine, statements
from fc_pipeline.fold.changes import Quarantined
from fc_pipeline.fold.profiles import STAGE_PROFILE_FIDS, UPSERT_PROFILES
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.fold.written import Written
from fc_pipeline.hub.wire import first_event_id, height_of
from fc_pipeline.reconcile import compare_sql, correct_sql, covered_history
from fc_pipeline.reconcile.covered_history import ShardHistory
from fc_pipeline.reconcile.records import SetAside, snapshot_rows
from fc_pipeline.reconcile.targets import ReconciledTargets
from fc_pipeline.store import ledger
from fc_pipeline.store.retry import through_faults
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_connection import WriterConnection
from fc_pipeline.store.writer_session import STANDSTILL_SECONDS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline.tables.user_profiles import USER_PROFILES
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = ["Difference", "FidSnapshot", "Judgement", "Reconciled", "Reconciler"]

LEDGER_WAIT_SECONDS: Final = 30.0
LEDGER_POLL_SECONDS: Final = 0.1
MOST_EXAMPLES: Final = 100
SPREAD_HEIGHTS: Final = 3600
"""So far apart may the copies of an fname's proof be that each shard gets (hub-api 7.5)."""

TABLES: Final = tuple(table.name for table in compare_sql.COMPARED)


@dataclass(frozen=True, slots=True)
class FidSnapshot:
    """A snapshot whose records are to be folded.

    Every event of the shard up to the id `version` is in it, none above `until_id`.
    """

    fid: int
    shard: int
    version: int
    until_id: int
    fetched_at: datetime


class Difference(NamedTuple):
    """A row that is not as the hub has it, both versions as JSON (None: there is none).

    `change` is `missing` (the table lacks it), `different` or `phantom` (only the table has it). Where `is_drift` is
    false, the FID's history is not covered, which explains it.
    """

    table: str
    fid: int
    change: str
    is_drift: bool
    key: str
    table_row: str | None
    hub_row: str | None


class Judgement(NamedTuple):
    """Of one FID the tables in which every difference is drift.

    `awaits_ledger`: all of them will be such once the ledger has come to where the snapshot ended; else the FID's
    history is not covered.
    """

    tables: frozenset[str]
    awaits_ledger: bool

    @property
    def is_whole(self) -> bool:
        """Whether every table could be judged."""
        return len(self.tables) == len(TABLES)


@dataclass(frozen=True)
class Reconciled:
    """What a fold of snapshots did or, where it was not to write, would have done; counts per table.

    `drift` counts differences in covered histories, `history` all others; tables without any are left out.
    `unjudged_fids` are FIDs whose history is not covered, `outdated_fids` those of which a newer snapshot was folded.
    `examples` holds some of the differences, drift first; history only where nothing was written, and only there
    `differing_fids` says of which FIDs the differences are, and `judgements` how far each FID could be judged.
    """

    written: Mapping[str, Written] = field(default_factory=dict[str, Written])
    drift: Mapping[str, int] = field(default_factory=dict[str, int])
    history: Mapping[str, int] = field(default_factory=dict[str, int])
    quarantined: int = 0
    messages: int = 0
    fids: int = 0
    unjudged_fids: int = 0
    outdated_fids: int = 0
    examples: Sequence[Difference] = ()
    differing_fids: frozenset[int] = frozenset()
    judgements: Mapping[int, "Judgement"] = field(default_factory=dict[int, "Judgement"])

    def __add__(self, other: "Reconciled") -> "Reconciled":
        written = dict(self.written)
        for name, one in other.written.items():
            written[name] = written.get(name, Written()) + one
        return Reconciled(
            written,
            _sum(self.drift, other.drift),
            _sum(self.history, other.history),
            self.quarantined + other.quarantined,
            self.messages + other.messages,
            self.fids + other.fids,
            self.unjudged_fids + other.unjudged_fids,
            self.outdated_fids + other.outdated_fids,
            _first([*self.examples, *other.examples], MOST_EXAMPLES),
            self.differing_fids | other.differing_fids,
            {**self.judgements, **other.judgements},
        )


def _sum(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: some.get(name, 0) + more.get(name, 0) for name in (*some, *(more.keys() - some.keys()))}


def _first(found: Sequence[Difference], most: int) -> tuple[Difference, ...]:
    return tuple(sorted(found, key=lambda one: not one.is_drift)[:most])


@dataclass
class Reconciler:
    """Folds snapshots through one ADBC connection of its own. Not for several threads at once.

    `sleep` and `clock` (seconds) are for waiting until the ledger is where a snapshot is. With `targets`, snapshots of
    users who are no targets are left out, and the target set follows what is written. One that `is_read_only` can only
    compare: Postgres itself keeps it from writing.
    """

    libpq_url: str = field(repr=False)
    run_id: str
    targets: TargetAccess | None = None
    is_read_only: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _set: ReconciledTargets | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        through_faults(f"the session of run {self.run_id}", self._open)
        return self

    def reopen(self) -> None:
        """Begin a new session after this one was lost."""
        self._close()
        self._open()

    def _open(self) -> None:
        connection = WriterConnection.open(self.libpq_url, application_name=f"fc_pipeline {self.run_id}"[:63])
        try:
            self._prepare(connection)
        except BaseException:
            self._close()
            raise

    def _prepare(self, connection: WriterConnection) -> None:
        self._connection = connection
        self._cursor = self._connection.cursor()
        self._connection.begin()
        for table in MESSAGE_TABLES.values():
            self._execute(statements.create_staging(table))
        for table in compare_sql.COMPARED:
            self._execute(compare_sql.create_changes(table))
        for statement in (*compare_sql.CREATE_STAGING, STAGE_PROFILE_FIDS, quarantine.CREATE_STAGING):
            self._execute(statement)
        self._set = ReconciledTargets(self.targets, self._execute) if self.targets is not None else None
        self._connection.commit()
        if self.is_read_only:  # what is staged goes into temporary tables, which may be written all the same
            self._execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._set is not None:
            self._set.close()
            self._set = None
        self._cursor.close()
        self._connection.close()

    def fold(
        self,
        snapshots: Sequence[FidSnapshot],
        records: Iterable[pa.RecordBatch],
        *,
        ids_before: Mapping[int, int] | None = None,
        ids_after: Mapping[int, int] | None = None,
        write: bool = True,
    ) -> Reconciled:
        """Fold whole snapshots in one transaction, or with `write` false only compare.

        `records` are the lines of exactly these FIDs, as the lake has them, in any number of batches; one is in memory
        at a time. `ids_before` and `ids_after` say of every shard what `version` and `until_id` say of an FID's own:
        an FID's names may come from any shard. Where they are not given, the snapshots' own have to do.

        While somebody follows the feed, this waits for the ledger to reach the snapshots, so that what happened while
        they were read is not taken for drift.
        """
        if not snapshots:
            return Reconciled()
        heads = _Heads.of(snapshots, ids_before or {}, ids_after or {})
        try:
            self._connection.begin()
            found = self._fold(snapshots, records, heads, write=write)
            if write:
                self._connection.commit()
                if self._set is not None:
                    self._set.publish()
            else:
                self._connection.rollback()
        except BaseException as error:
            self._roll_back(error)
            raise
        return found

    def _roll_back(self, cause: BaseException) -> None:
        try:
            self._connection.rollback()
        except adbc_driver_manager.Error:
            raise SessionLost(
                f"the Postgres session of run {self.run_id} is gone: the server was restarted, or the connection cut",
                hint="the next run over the same users goes on from there",
            ) from cause

    def _fold(
        self, snapshots: Sequence[FidSnapshot], records: Iterable[pa.RecordBatch], heads: "_Heads", *, write: bool
    ) -> Reconciled:
        hold_schema(self._execute)
        self._copy("stage_snapshots", _snapshot_lines(snapshots))
        messages, quarantined = self._stage(records)
        judged = self._judged(snapshots, heads)
        self._copy("stage_judged", _judged_lines({fid: one.tables for fid, one in judged.items()}))
        # Everything up to here is the reading of this connection alone; from here on nobody else folds these shards.
        self._execute(f"SET LOCAL idle_in_transaction_session_timeout TO '{STANDSTILL_SECONDS}s'")
        for shard in sorted({one.shard for one in snapshots}):
            self._execute(ledger.LOCK_SHARD, (shard,))
        others = self._set.hold(write=write) if self._set is not None else 0
        outdated = self._execute(compare_sql.DROP_OUTDATED)[0][0]
        self._copy("stage_heads", self._head_lines(heads))
        for table in compare_sql.COMPARED:
            for statement in compare_sql.compare(table):
                self._execute(statement)
        drift, history, examples = self._tell(write=write)
        written = self._write(drift, quarantined) if write else {}
        if self._set is not None and write:
            self._set.follow()
        return Reconciled(
            written=written,
            drift=drift,
            history=history,
            quarantined=sum(len(several) for several in quarantined.values()),
            messages=messages,
            fids=len(snapshots) - others,
            unjudged_fids=sum(not judged[one.fid].is_whole for one in snapshots) - others,
            outdated_fids=outdated,
            examples=examples,
            differing_fids=frozenset() if write else self._differing_fids(),
            judgements={} if write else judged,
        )

    def _stage(self, records: Iterable[pa.RecordBatch]) -> tuple[int, dict[int, list[Quarantined]]]:
        """COPY the rows into temporary tables, batch by batch; how many records, and what became no row, per shard."""
        messages = 0
        quarantined: dict[int, list[Quarantined]] = {}
        for batch in records:
            found = snapshot_rows(batch)
            messages += found.records
            for name, rows in found.rows.items():
                self._copy(statements.stage_name(MESSAGE_TABLES[name]), rows)
            self._copy("stage_set_aside", _set_aside_lines(found.set_aside))
            for shard, several in found.quarantined.items():
                quarantined.setdefault(shard, []).extend(several)
        return messages, quarantined

    def _judged(self, snapshots: Sequence[FidSnapshot], heads: "_Heads") -> dict[int, Judgement]:
        """How far each FID can be judged; takes the staged records into account.

        Waits while that may still change: the ledger has everything but what came last, and somebody is reading it.
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
        # Names, and what contracts say of nobody (FID 0), may come from any shard.
        others_are_known = all(_is_known_lately(histories[shard], event_id) for shard, event_id in heads.after.items())
        judged: dict[int, Judgement] = {}
        synced = self._set.synced() if self._set is not None else None
        for one in snapshots:
            if synced is not None and one.fid not in synced:  # its history is fetched by what folds the feed, too
                judged[one.fid] = Judgement(frozenset(), awaits_ledger=True)
                continue
            history, last = histories[one.shard], max(height_of(one.until_id), until.get(one.fid, 0))
            tables = {t for t in TABLES if history.is_covered(t, since=since.get(one.fid), until=last)}
            if not others_are_known:
                tables = tables - {USERNAME_PROOFS.name} if one.fid else set[str]()
            is_behind = history.top() is None or (one.shard in behind and _may_be_covered(history, since.get(one.fid)))
            judged[one.fid] = Judgement(frozenset(tables), awaits_ledger=is_behind or not others_are_known)
        return judged

    def _bounds(self) -> tuple[dict[int, int], dict[int, int]]:
        """Per FID the height from which on the ledger has to have all; and the last that the tables may be of.

        The former is where its history begins, or continues after the snapshot that was folded last. The rows of that
        snapshot may be of any moment while it was read: until the events of these moments are folded, too, one that
        was read earlier but is folded later would contradict them.
        """
        rows = self._execute(
            "SELECT s.fid, s.folded_version, s.folded_until_id FROM stage_snapshots AS p CROSS JOIN LATERAL "
            "(SELECT * FROM pipeline.snapshots WHERE fid = p.fid AND folded_version IS NOT NULL OFFSET 0) AS s"
        )
        since = {fid: height_of(version) + 1 for fid, version, _ in rows}
        until = {fid: height_of(until_id) for fid, _, until_id in rows if until_id is not None}
        # Nobody has done anything before being registered. The table may have lost that row, so the hub is heard, too.
        for fid, version in self._execute(covered_history.REGISTERED):
            since[fid] = max(since.get(fid, 0), height_of(version))
        for fid, origin_height in self._execute(covered_history.REGISTERED_SINCE_ORIGIN):
            since[fid] = max(since.get(fid, 0), origin_height)
        return since, until

    def _history(self, shard: int) -> ShardHistory:
        lines = [(row[0], row[1], row[2]) for row in self._execute(covered_history.LINES, (shard,))]
        gaps = [(row[0], row[1]) for row in self._execute(covered_history.GAPS, (shard,))]
        return ShardHistory.of(lines, gaps, self._execute(covered_history.ORIGIN, (shard,))[0][0])

    def _is_followed(self, shard: int) -> bool:
        return self._execute(covered_history.FOLLOWED, (shard,))[0][0] > 0

    def _head_lines(self, heads: "_Heads") -> pa.Table:
        tops = dict(self._execute("SELECT shard, max(to_height) FROM pipeline.coverage GROUP BY shard"))
        shards = sorted(heads.before)
        top_ids = [first_event_id(tops[shard] + 1) - 1 if shard in tops else 0 for shard in shards]
        return pa.table(
            {
                "shard": pa.array(shards, pa.int32()),
                "before_id": pa.array([heads.before[shard] for shard in shards], pa.int64()),
                "top_id": pa.array(top_ids, pa.int64()),
            }
        )

    def _tell(self, *, write: bool) -> tuple[dict[str, int], dict[str, int], tuple[Difference, ...]]:
        """Counts of drift and of history per table, and some examples."""
        drift: dict[str, int] = {}
        history: dict[str, int] = {}
        examples: list[Difference] = []
        for table in compare_sql.COMPARED:
            for _, is_drift, rows in self._execute(correct_sql.count(table)):
                counts = drift if is_drift else history
                counts[table.name] = counts.get(table.name, 0) + rows
            # History is written by the million, and looked at only where nothing is written.
            if table.name in drift or (table.name in history and not write):
                found = self._execute(correct_sql.examples(table), (MOST_EXAMPLES,))
                examples += [Difference(table.name, *row) for row in found]
        return drift, history, _first(examples, MOST_EXAMPLES)

    def _differing_fids(self) -> frozenset[int]:
        rows = (row for table in compare_sql.COMPARED for row in self._execute(correct_sql.differing_fids(table)))
        return frozenset(row[0] for row in rows if row[0] is not None)

    def _write(self, drift: Mapping[str, int], quarantined: Mapping[int, list[Quarantined]]) -> dict[str, Written]:
        written: dict[str, Written] = {}
        for table in compare_sql.COMPARED:
            if drift.get(table.name):
                self._execute(correct_sql.record_drift(table), (self.run_id,))
            *before, write = correct_sql.correct(table)
            for statement in before:
                self._execute(statement)
            written[table.name] = Written(*self._execute(write)[0])
        self._execute("DELETE FROM stage_profile_fids")
        self._execute(correct_sql.CHANGED_PROFILES)
        written[USER_PROFILES.name] += Written(*self._execute(UPSERT_PROFILES)[0])
        for shard, several in quarantined.items():
            self._copy("stage_quarantine", quarantine.staged(shard, several))
        if quarantined:
            self._execute(quarantine.MERGE_OF_SNAPSHOTS)
        self._execute(correct_sql.NOTE_FOLDED, (self.run_id,))
        return written

    def _copy(self, staging: str, rows: pa.Table) -> None:
        if len(rows):
            self._cursor.adbc_ingest(staging, rows, mode="append", temporary=True)

    def _execute(self, statement: str, parameters: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement, parameters)
        return list(self._cursor.fetchall()) if self._cursor.description else []


@dataclass(frozen=True, slots=True)
class _Heads:
    """Per shard the event ids between which the snapshots were read."""

    before: Mapping[int, int]
    after: Mapping[int, int]

    @classmethod
    def of(
        cls, snapshots: Sequence[FidSnapshot], ids_before: Mapping[int, int], ids_after: Mapping[int, int]
    ) -> "_Heads":
        before, after = dict(ids_before), dict(ids_after)
        for one in snapshots:
            if one.shard not in ids_before:
                before[one.shard] = min(before.get(one.shard, one.version), one.version)
            if one.shard not in ids_after:
                after[one.shard] = max(after.get(one.shard, one.until_id), one.until_id)
        return cls(before, after)


def _is_reached(history: ShardHistory, event_id: int) -> bool:
    """Whether the ledger is where a snapshot ended."""
    top = history.top()
    return top is not None and top >= height_of(event_id)


def _is_known_lately(history: ShardHistory, event_id: int) -> bool:
    """Whether all is folded that this shard may have had before an FID's own shard, which has its own copy of it."""
    tables = (USERNAME_PROOFS.name, ON_CHAIN_EVENTS.name)
    return all(history.is_covered_for(name, SPREAD_HEIGHTS, until=height_of(event_id)) for name in tables)


def _may_be_covered(history: ShardHistory, since: int | None) -> bool:
    """Whether an FID's history is covered as far as the ledger goes."""
    top = history.top()
    return top is not None and any(history.is_covered(table, since=since, until=top) for table in TABLES)


def _snapshot_lines(snapshots: Sequence[FidSnapshot]) -> pa.Table:
    return pa.table(
        {
            "fid": pa.array([one.fid for one in snapshots], pa.int64()),
            "shard": pa.array([one.shard for one in snapshots], pa.int32()),
            "version": pa.array([one.version for one in snapshots], pa.int64()),
            "until_id": pa.array([one.until_id for one in snapshots], pa.int64()),
            "fetched_at": pa.array([one.fetched_at for one in snapshots], pa.timestamp("us", tz="UTC")),
        }
    )


def _judged_lines(judged: Mapping[int, frozenset[str]]) -> pa.Table:
    lines = [(fid, name) for fid, names in judged.items() for name in sorted(names)]
    return pa.table(
        {
            "fid": pa.array([fid for fid, _ in lines], pa.int64()),
            "table_name": pa.array([name for _, name in lines], pa.string()),
        }
    )


def _set_aside_lines(set_aside: Sequence[SetAside]) -> pa.Table:
    return pa.table(
        {
            "fid": pa.array([one.fid for one in set_aside], pa.int64()),
            "table_name": pa.array([one.table for one in set_aside], pa.string()),
            "hash": pa.array([one.hash for one in set_aside], pa.binary()),
        }
    )
