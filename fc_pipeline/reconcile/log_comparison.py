"""Compares the tables with the raw log, without a hub: exact for the compared hours; and corrects them."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import numpy as np
import pyarrow as pa

from fc_pipeline.hours import Hour
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.reconcile import derived_sql, log_sql
from fc_pipeline.reconcile.expected_rows import COMPARED_TABLES, ExpectedRows, expected_rows
from fc_pipeline.reconcile.log_differences import HourDifferences, LogComparison, TableComparison
from fc_pipeline.reconcile.quarantined import IN_HOURS
from fc_pipeline.replica import Replica
from fc_pipeline.store import attribution, coverage, covered_heights, derived, held_fids
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import ALL_TABLES, DERIVED_TABLES, LEAF_TABLES
from fc_pipeline.tables.signers import KEYS
from fc_pipeline.targets import rule

__all__ = ["compare_with_log", "repair_hour"]

T = TypeVar("T")

MAX_EVENTS: Final = 150_000
"""How many events of the newest finished hours are compared, at least one hour."""
SETTLED_SECONDS: Final = 300.0
"""An hour's files are joined a few minutes after its end; before that it has one for every micro-batch."""

_AT_ONE_MOMENT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
_SHARDS: Final = "SELECT shard, shard_count FROM pipeline.shards"
_QUARANTINED: Final = "SELECT q.shard, q.raw FROM pipeline.quarantine AS q WHERE " + IN_HOURS.format(
    partitions="string_to_array($1, ',')"
)
_TARGETS: Final = "SELECT fid FROM pipeline.targets WHERE synced_at IS NOT NULL"
_MENTIONS: Final = "SELECT mentions FROM pipeline.target_set"


def compare_with_log(
    replica: Replica, tables: Collection[str], *, max_events: int = MAX_EVENTS, now: float | None = None
) -> LogComparison:
    """Compare the newest finished hours; nothing is written.

    Ledger and tables are read in one snapshot: what is being folded meanwhile is in both or in neither.
    """
    started = time.monotonic()
    with _Comparison(replica, tables) as work:
        hours, expected, found = work.read(lambda: work.compare_newest(max_events, time.time() if now is None else now))
    return LogComparison(found, hours, expected.events, expected.unread, time.monotonic() - started)


def repair_hour(replica: Replica, hour: Hour, tables: Collection[str]) -> dict[str, int]:
    """Correct these tables' rows of an hour by the raw log; returns how many were written, per table.

    Correct rows are not touched, and concurrent folds wait only if something is wrong.
    """
    with _Comparison(replica, tables) as work:
        _, found = work.read(lambda: work.compare([hour]))
        if not any(one.wrong for one in found.values()):
            return {}
    with _Comparison(replica, tables) as work:
        return work.repair(hour)


class _Comparison:
    """One connection with its own temporary tables; uncommitted work is dropped at the end."""

    def __init__(self, replica: Replica, tables: Collection[str]) -> None:
        self._replica = replica
        self._tables = [table for name, table in COMPARED_TABLES.items() if name in tables]
        # Derived tables are compared with their sources, and derived again where these are repaired.
        self._derived = [one for one in DERIVED_TABLES if not {one.name, *one.sources}.isdisjoint(tables)]
        staged = {*tables, *(name for one in self._derived for name in (one.name, *one.sources))}
        known = {**ALL_TABLES, OTHER_LEAVES.name: OTHER_LEAVES}
        self._staged = [table for name, table in known.items() if name in staged]
        self._scopes: dict[str, int] = {}
        self._session = WriterSession(replica.settings.libpq_url(), on_open=self._prepare, reads_by_copy=False)

    def __enter__(self) -> Self:
        self._session.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def _prepare(self) -> None:
        for statement in log_sql.CREATE_STAGING:
            self._session.execute(statement)
        for table in self._staged:
            for statement in log_sql.create_staging(table):
                self._session.execute(statement)
        for one in self._derived:
            self._session.execute(derived.create_scope(one))

    def read(self, work: Callable[[], T]) -> T:
        """Do work that reads one consistent state; what it stages is dropped."""

        def at_one_moment() -> T:
            self._session.execute(_AT_ONE_MOMENT)
            return work()

        return self._session.transaction(at_one_moment, commit=False)

    def repair(self, hour: Hour) -> dict[str, int]:
        """Compare an hour while no run folds or migrates, and correct differences; returns how many rows, per table."""

        def repaired() -> dict[str, int]:
            self._hold()
            self.compare([hour])
            return self._correct()

        return self._session.transaction(repaired)

    def _hold(self) -> None:
        """Keep out folds and migrations until the transaction ends."""
        hold_schema(self._session.execute)
        for shard in sorted(covered_heights.extents(self._session.query)):
            self._session.execute(held_fids.LOCK_SHARD, (shard,))

    def compare_newest(
        self, max_events: int, now: float
    ) -> tuple[list[Hour], ExpectedRows, dict[str, TableComparison]]:
        """Compare the newest hours that are over; which these are, and what `compare` gives."""
        hours = self._newest_hours(max_events, now)
        return hours, *self.compare(hours)

    def _newest_hours(self, max_events: int, now: float) -> list[Hour]:
        """The newest hours that are over, as many as the budget of events allows."""
        chosen: list[Hour] = []
        for hour, events in coverage.events_by_hour(self._session.query).items():
            if hour.end_unix + SETTLED_SECONDS > now:
                continue
            max_events -= events
            if chosen and max_events < 0:
                break
            chosen.append(hour)
        return chosen

    def compare(self, hours: Sequence[Hour]) -> tuple[ExpectedRows, dict[str, TableComparison]]:
        """Fold what the log has of these hours, and note what the tables have otherwise."""
        keys = ",".join(hour.key for hour in hours)
        lines = coverage.lines_of_hours(self._session.query, hours)
        quarantined: defaultdict[int, set[bytes]] = defaultdict(set)
        for shard, raw in self._session.execute(_QUARANTINED, (keys,)):
            quarantined[shard].add(bytes(raw))
        expected = expected_rows(
            self._replica.log,
            lines,
            quarantined,
            frozenset(table.name for table in self._staged),
            shard_count=self._replica.shard_count(),
        )
        members = self._members()
        self._stage(expected, members)
        self._compare_tables(expected)
        return expected, {table.name: self._counted(table, expected) for table in self._tables}

    def _correct(self) -> dict[str, int]:
        """Write what was noted, and derive what follows from it."""
        written: dict[str, int] = {}
        for one in self._derived:
            self._session.execute(derived.empty_scope(one))
            self._session.execute(derived_sql.stage_scope_of_wrong(one))
        # Messages are attributed by the keys that contract events add.
        if ON_CHAIN_EVENTS in self._tables:
            written[ON_CHAIN_EVENTS.name] = self._correct_rows(ON_CHAIN_EVENTS)
        if KEYS in self._derived:
            written[KEYS.name] = self._derive(KEYS)
        for table in self._tables:
            if table.comparison is not Comparison.DERIVED and table.name not in written:
                written[table.name] = self._correct_rows(table)
        for one in self._derived:
            if one.name not in written:
                written[one.name] = self._derive(one)
        return {name: rows for name, rows in written.items() if rows}

    def _correct_rows(self, table: DataTable) -> int:
        if table.name in (*LEAF_TABLES, OTHER_LEAVES.name):
            self._session.execute(log_sql.note_wrong_fids(table))
        return sum(self._session.execute(statement)[0][0] for statement in log_sql.correct(table))

    def _derive(self, one: DerivedTable) -> int:
        written = sum(self._session.execute(derived.derive_exactly(one))[0])
        if written:
            for statement in attribution.after(one):
                self._session.execute(statement)
        return written

    def _members(self) -> "np.ndarray[Any, np.dtype[np.int64]] | None":
        """The targets whose histories are complete; None if every user is replicated."""
        if self._replica.targets is None:
            return None
        return np.array(sorted(row[0] for row in self._session.execute(_TARGETS)), np.int64)

    def _stage(self, expected: ExpectedRows, members: "np.ndarray[Any, np.dtype[np.int64]] | None") -> None:
        """COPY what is expected, and what says where rows may come from."""
        mentions = members is not None and bool(self._session.execute(_MENTIONS)[0][0])
        for table in self._staged:
            rows = expected.rows.get(table.name)
            if rows is None or not len(rows):
                continue
            if members is None:
                wanted = np.ones(len(rows), np.bool_)
            else:
                wanted = rule.is_concerned(table, rows, members, mentions=mentions)
            self._session.copy(log_sql.expected_name(table), rows.append_column("wanted", pa.array(wanted, pa.bool_())))
            self._session.execute(f"ANALYZE {log_sql.expected_name(table)}")
        ranges = [(name, one) for name, several in expected.ranges.items() for one in several]
        self._session.copy(
            "compared_ranges",
            pa.table(
                {
                    "table_name": pa.array([name for name, _ in ranges], pa.string()),
                    "shard": pa.array([one.shard for _, one in ranges], pa.int32()),
                    "partition": pa.array([one.hour.key for _, one in ranges], pa.string()),
                    "first_id": pa.array([one.first_id for _, one in ranges], pa.int64()),
                    "last_id": pa.array([one.last_id for _, one in ranges], pa.int64()),
                }
            ),
        )
        in_quarantine = _pairs("shard", pa.int32(), "event_id", sorted(expected.quarantined))
        self._session.copy("events_in_quarantine", in_quarantine)

    def _compare_tables(self, expected: ExpectedRows) -> None:
        folded = covered_heights.extents(self._session.query)
        bounds = [
            (shard, first_event_id(folded[shard].first), first_event_id(folded[shard].last + 1) - 1, count)
            for shard, count in self._session.execute(_SHARDS)
            if shard in folded
        ]
        for shard, origin_id, top_id, _ in bounds:
            self._session.execute(log_sql.ADD_BOUNDS, (shard, origin_id, top_id))
        if not any(expected.ranges.values()):
            return
        self._session.execute(log_sql.ANALYZE_RANGES)
        if LINKS in self._tables:
            self._session.execute(log_sql.MASK_EXPECTED_LINKS)
        spans = expected.spans([(origin_id, top_id) for _, origin_id, top_id, _ in bounds])
        for table in self._tables:
            if table.comparison is not Comparison.DERIVED and expected.ranges.get(table.name):
                self._compare_table(table, expected, spans, {count for *_, count in bounds})
        for one in self._derived:
            if one.table in self._tables and expected.ranges.get(one.name):
                self._compare_derived(one, expected, spans)

    def _compare_table(
        self, table: DataTable, expected: ExpectedRows, spans: Sequence[tuple[int, int]], shard_counts: set[int]
    ) -> None:
        self._session.execute(log_sql.compare(table))
        if table is FID_ACTIVITY:
            hours = ",".join(str(hour.start_unix) for hour in expected.activity_hours)
            if hours:
                self._session.execute(log_sql.find_invented(table), (hours,))
            return
        for first_id, last_id in spans:
            self._session.execute(log_sql.candidates(table), (first_id, last_id))
        fids = [] if table.says_its_shard else [row[0] for row in self._session.execute(log_sql.candidate_fids(table))]
        if fids:
            self._place(fids, expected, shard_counts)
            self._session.execute(log_sql.find_invented(table))
        elif self._session.execute(log_sql.count_candidates(table))[0][0]:
            self._session.execute(log_sql.find_invented(table))

    def _place(self, fids: Sequence[int], expected: ExpectedRows, shard_counts: set[int]) -> None:
        """Note on which shard these FIDs are: as the log has them or, if that agrees, by the network's rule."""
        known = expected.shards_of_fids()
        (count,) = shard_counts if len(shard_counts) == 1 else (0,)
        by_rule = count > 0 and all(shard_of(fid, count) == shard for fid, shard in known.items())
        placed = [(fid, known.get(fid) or (shard_of(fid, count) if by_rule else None)) for fid in fids]
        self._session.execute(log_sql.EMPTY_FID_SHARDS)
        self._session.copy(
            "fid_shards",
            pa.table(
                {
                    "fid": pa.array([fid for fid, shard in placed if shard is not None], pa.int64()),
                    "shard": pa.array([shard for _, shard in placed if shard is not None], pa.int32()),
                }
            ),
        )

    def _compare_derived(self, one: DerivedTable, expected: ExpectedRows, spans: Sequence[tuple[int, int]]) -> None:
        relations = [(name, log_sql.expected_name(ALL_TABLES[name])) for name in one.sources]
        self._session.execute(derived.stage_touched(one, relations))
        for span in spans:
            self._session.execute(derived_sql.stage_scope_in_span(one), span)
        self._session.execute(f"ANALYZE {derived.scope_name(one)}")
        self._session.execute(derived_sql.compare_with_sources(one))
        self._scopes[one.name] = self._session.execute(derived_sql.count_scopes(one))[0][0]

    def _counted(self, table: DataTable, expected: ExpectedRows) -> TableComparison:
        by_hour: defaultdict[str | None, dict[str, Any]] = defaultdict(dict)
        for hour, kind, rows, example in self._session.execute(log_sql.count_by_hour(table)):
            by_hour[hour][kind] = rows
            by_hour[hour].setdefault("example", example)
        rows = expected.rows.get(table.name)
        compared = self._scopes.get(table.name, 0) if rows is None else len(rows)
        return TableComparison(
            compared,
            [HourDifferences(Hour.from_key(hour) if hour else None, **found) for hour, found in by_hour.items()],
        )


def _pairs(one: str, kind: pa.DataType, other: str, values: Sequence[tuple[int, int]]) -> pa.Table:
    return pa.table(
        {one: pa.array([pair[0] for pair in values], kind), other: pa.array([pair[1] for pair in values], pa.int64())}
    )
