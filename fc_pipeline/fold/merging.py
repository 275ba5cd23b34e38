"""The merges of a micro-batch: staged rows into tables, each by a statement that is prepared once per session.

The SQL is composed once from the tables' declarations; data never becomes part of a statement.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.outcomes import Written
from fc_pipeline.store import attribution, derived
from fc_pipeline.store.derived import COUNTED, returning, stage_name
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.derived_table import DerivedTable, NewRows
from fc_pipeline.tables.fid_activity import ACTIVITY_COUNTS, FID_ACTIVITY
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DERIVED_TABLES, MESSAGE_TABLES
from fc_pipeline.tables.signers import KEYS
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS
from fc_pipeline.targets.rule import NOT_TARGET

__all__ = [
    "HASHED_JOINS",
    "KEYED_PLANS",
    "MASK_BY_NEW_COMPACTIONS",
    "MASK_STAGED_LINKS",
    "Merges",
    "add_activity",
    "create_staging",
    "merge",
    "replace_activity",
    "stage_name",
]


def create_staging(table: DataTable) -> str:
    """Created once per connection and emptied by every commit, which costs no catalogue rows."""
    columns = ", ".join(f"{c.name} {c.type.staging}" for c in table.columns)
    return f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage_name(table)} ({columns}) ON COMMIT DELETE ROWS"


_COUNTED_WITH_VERSIONS = COUNTED.replace(" FROM merged", ", array_agg(version) AS versions FROM merged")


@cache
def merge(table: DataTable, noting: NewRows | None = None) -> str:
    """Upsert the staged rows; one that is not newer by the table's order changes nothing but an unknown block time.

    Returns the counts, and the versions of the rows that were written. Live ones of these are noted where that is
    wanted.
    """
    returned, noted = "t.version", ""
    if noting is not None:
        names = ", ".join(name for name, _, _ in noting.columns)
        values = (f"{value} AS {name}" for name, _, value in noting.columns if name != "version")
        returned = ", ".join((returned, *values))
        noted = f", noted AS (INSERT INTO {noting.name} ({names}) SELECT {names} FROM merged WHERE NOT dead)"
    order = ", ".join(f"excluded.{name}" for name in table.order)
    current = ", ".join(f"t.{name}" for name in table.order)
    return (
        f"WITH merged AS (INSERT INTO {table.qualified} AS t ({', '.join(table.names)}) "
        f"SELECT {_selected(table)} FROM {stage_name(table)} ORDER BY {', '.join(table.key)} "
        f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {_assigned(table)} "
        f"WHERE ({order}) > ({current}){_or_newer(table, order, current)}{_or_dated(table)} "
        f"{returning(table)}, {returned}){noted} {_COUNTED_WITH_VERSIONS}"
    )


def _or_newer(table: DataTable, order: str, current: str) -> str:
    """Of a name whose holder was no target the table knows no more than that: the same proof says who it is."""
    if table is not USERNAME_PROOFS:
        return ""
    return (
        f" OR (({order}) = ({current}) AND t.deleted_reason = '{NOT_TARGET}' "
        f"AND excluded.deleted_reason IS DISTINCT FROM '{NOT_TARGET}')"
    )


def _or_dated(table: DataTable) -> str:
    """Of a row that a by-FID answer or an older release left without it, its own event says when the block was."""
    if not table.has_block_time:
        return ""
    return (
        " OR (t.block_time IS NULL AND excluded.block_time IS NOT NULL AND (t.version = excluded.version "
        "OR (t.hash = excluded.hash AND t.deleted_at IS NULL AND excluded.deleted_at IS NULL)))"
    )


def _selected(table: DataTable) -> str:
    return ", ".join(column.value_of(stage_name(table)) for column in table.columns)


def _assigned(table: DataTable) -> str:
    values = {name: f"excluded.{name}" for name in table.names if name not in table.key}
    if table.has_block_time:  # an earlier event may add no more than its block's time
        values["version"] = "greatest(t.version, excluded.version)"
    return ", ".join((*(f"{name} = {value}" for name, value in values.items()), table.stamped_again))


@cache
def add_activity() -> str:
    """Add the staged counts: for heights that the ledger did not cover before, so that nothing counts twice."""
    sums = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in ACTIVITY_COUNTS)
    return _activity(f"{sums}, version = greatest(t.version, excluded.version)", "")


@cache
def replace_activity() -> str:
    """Set the staged counts, which are of the whole hour; rows that already have them are left alone."""
    names = ("version", *ACTIVITY_COUNTS)
    sets = ", ".join(f"{name} = excluded.{name}" for name in names)
    differs = f"({', '.join(f't.{n}' for n in names)}) IS DISTINCT FROM ({', '.join(f'excluded.{n}' for n in names)})"
    return _activity(sets, f"WHERE {differs}")


def _activity(assigned: str, where: str) -> str:
    table = FID_ACTIVITY
    return (
        f"WITH merged AS (INSERT INTO {table.qualified} AS t ({', '.join(table.names)}) "
        f"SELECT {', '.join(table.names)} FROM {stage_name(table)} ORDER BY hour, fid "
        f"ON CONFLICT (hour, fid) DO UPDATE SET {assigned}, {table.stamped_again} {where} "
        f"{returning(table)}) {COUNTED}"
    )


_PLANS_OF_WHOLE_TABLES = ("hashjoin", "mergejoin", "material", "seqscan", "bitmapscan")

KEYED_PLANS = "SELECT " + ", ".join(f"set_config('enable_{scan}', 'off', true)" for scan in _PLANS_OF_WHOLE_TABLES)
"""For the transaction: look staged rows up by index. Staging tables have no statistics, and a plan that reads a whole
table looks cheap until it has grown; the merges keep the plan of a connection's first micro-batch."""

HASHED_JOINS = "SELECT set_config('enable_hashjoin', '{}', true)"
"""For one statement, whose hashed rows are a micro-batch's."""

_FREE_PLANS = "SELECT " + ", ".join(f"set_config('enable_{scan}', 'on', true)" for scan in _PLANS_OF_WHOLE_TABLES)
"""For the rest of the transaction: the session's plan settings again."""

# A link is masked by a compact state that is newer than the event which decided it, was made no earlier than the link,
# is of its type (or type-blind), and does not name its target. The earliest such state decides when it was deleted, so
# that their order of arrival does not matter.
_MASKABLE = (
    "c.version > l.version AND c.timestamp >= l.timestamp AND (c.type = l.type OR NOT c.scoped) "
    "AND (l.deleted_at IS NULL OR l.deleted_reason = 'compacted')"
)
_MASK = (
    "WITH masked AS (SELECT l.place, l.fid, min(c.compacted_at) AS compacted_at FROM {source} GROUP BY 1, 2), "
    "updated AS (UPDATE public.links AS l SET deleted_at = m.compacted_at, deleted_reason = 'compacted' "
    f"FROM masked AS m WHERE {LINKS.is_found_at('l', 'm')} "
    "AND (l.deleted_at IS NULL OR (l.deleted_reason = 'compacted' AND l.deleted_at > m.compacted_at)) RETURNING 1) "
    "SELECT count(*) AS deleted FROM updated"
)

# OFFSET 0 keeps the order of the joins: few FIDs have compact states, so they are looked up first, by index. Links are
# updated where they were found: a join by their key may walk through the whole table.
MASK_STAGED_LINKS = _MASK.format(
    source=(
        "stage_links AS s "
        "CROSS JOIN LATERAL (SELECT * FROM pipeline.link_compactions AS c WHERE c.fid = s.fid OFFSET 0) AS c "
        "CROSS JOIN LATERAL (SELECT l.ctid AS place, l.* FROM public.links AS l "
        "WHERE l.fid = s.fid AND l.type = s.type "
        f"AND l.target_fid = s.target_fid AND {_MASKABLE} OFFSET 0) AS l "
        "WHERE l.target_fid <> ALL (c.target_fids)"
    )
)
"""Apply every known compact state to the links of this micro-batch."""

MASK_BY_NEW_COMPACTIONS = _MASK.format(
    source=(
        "stage_link_compactions AS c "
        "CROSS JOIN LATERAL (SELECT l.ctid AS place, l.* FROM public.links AS l "
        f"WHERE l.fid = c.fid AND {_MASKABLE} OFFSET 0) AS l "
        "WHERE (c.fid, c.version, l.target_fid) NOT IN "
        "(SELECT k.fid, k.version, unnest(k.target_fids) FROM stage_link_compactions AS k)"
    )
)
"""Apply this micro-batch's compact states to all links of their FIDs."""


def _merge_order(name: str) -> int:
    """Contract events first: messages are attributed by the keys that they add. Names last.

    Every shard has the proofs of all fnames: whoever merges them keeps the others waiting until its commit.
    """
    return {ON_CHAIN_EVENTS.name: 0, USERNAME_PROOFS.name: 2}.get(name, 1)


@dataclass
class Merges:
    """Merges what is staged in a session, inside its transaction, and counts what is written."""

    session: WriterSession
    leaves_written: int = field(default=0, init=False)
    _planned: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False)
    _early: dict[str, Written] = field(default_factory=dict[str, Written], init=False, repr=False)
    _versions: list[npt.NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)

    def forget_plans(self) -> None:
        """The session is a new one, in which nothing is prepared."""
        self._planned.clear()

    def begin(self) -> None:
        """A transaction begins, of which nothing is written yet."""
        self._versions.clear()
        self._early = {}
        self.leaves_written = 0

    @property
    def events_written(self) -> int:
        """How many events the transaction wrote rows of so far; one with rows in several tables counts once."""
        return len(np.unique(np.concatenate(self._versions))) if self._versions else 0

    def merge(
        self, batch: MicroBatch, known_tables: Collection[str] = (), *, first_time: bool = False
    ) -> dict[str, Written]:
        """Merge a staged micro-batch; what was written per table, `merge_early` included.

        Of the `known_tables`, which its heights were written to before, those that follow from a wanted one are derived
        with it: a derived row is there exactly as long as its sources say so. What heights that are merged for the
        `first_time` make of new rows is derived from these alone.
        """
        wanted = {
            one.name
            for one in DERIVED_TABLES
            if one.name in batch.tables or (one.name in known_tables and not batch.tables.isdisjoint(one.sources))
        }
        new = [one.new_rows for one in DERIVED_TABLES if one.name in wanted and one.new_rows is not None]
        noting = {one.source: one for one in new if first_time}
        written: dict[str, Written] = {}
        for name in sorted(batch.rows, key=_merge_order):
            written[name] = self.counted(merge(MESSAGE_TABLES[name], noting.get(name)))
            if name == ON_CHAIN_EVENTS.name and KEYS.name in wanted:
                written[KEYS.name] = self._derive(KEYS, batch)
        for name, one in self._early.items():
            written[name] = written.get(name, Written()) + one
        if LINKS.name in batch.tables:
            written[LINKS.name] = written.get(LINKS.name, Written()) + self._mask_links(batch)
        for one in DERIVED_TABLES:
            if one.name in wanted and one.name not in written:
                if one.new_rows is not None and one.new_rows.source in noting.keys() & batch.rows.keys():
                    written[one.name] = self._derive_from_new(one, one.new_rows)
                else:
                    written[one.name] = self._derive(one, batch)
        if len(batch.leaves):  # no table of rows: what is written there is counted nowhere
            self.leaves_written = sum(self._execute(merge(OTHER_LEAVES))[0][:3])
        if batch.activity is not None:
            written[FID_ACTIVITY.name] = self.counted(add_activity()) if len(batch.activity) else Written()
        return written

    def merge_early(self) -> None:
        """Merge what is staged of what may change the target set."""
        self.session.execute(KEYED_PLANS)
        self._early = {
            ON_CHAIN_EVENTS.name: self.counted(merge(ON_CHAIN_EVENTS)),
            LINKS.name: self.counted(merge(LINKS)),
        }
        self.counted(merge(LINK_COMPACTIONS))
        for mask in (MASK_BY_NEW_COMPACTIONS, MASK_STAGED_LINKS):
            self._early[LINKS.name] += Written(deleted=self.session.execute(mask)[0][0])
        self.session.execute(_FREE_PLANS)

    def counted(self, statement: str) -> Written:
        """Execute a merge."""
        found = self.session.read(self._planned_once(statement))
        if "versions" in found.column_names:
            self._versions += [pc.list_flatten(chunk).to_numpy() for chunk in found["versions"].chunks]
        inserted, updated, deleted = (found[name][0].as_py() for name in ("inserted", "updated", "deleted"))
        return Written(inserted, updated, deleted)

    def _execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self.session.execute(self._planned_once(statement))

    def _planned_once(self, statement: str) -> str:
        """A statement's plan costs as much as a small micro-batch's rows: it is made once per session."""
        if statement not in self._planned:
            name = f"fold_{len(self._planned)}"
            self.session.execute(f"PREPARE {name} AS {statement}")
            self._planned[statement] = name
        return f"EXECUTE {self._planned[statement]}"

    def _derive(self, one: DerivedTable, batch: MicroBatch) -> Written:
        """Derive what the staged rows touch."""
        staged = {**batch.sources, **batch.rows}
        touching = [name for name in one.sources if name in staged and len(staged[name])]
        if not touching:
            return Written()
        relations = [(name, stage_name(MESSAGE_TABLES[name])) for name in touching]
        if one.through_rows:
            self._pass_gate(one, relations)
        for statement in derived.before(one):
            self.session.execute(statement)
        self._execute(derived.stage_touched(one, relations))
        if not set(one.shared_sources).isdisjoint(touching):
            self._execute(derived.lock(one))
        written = self.counted(derived.derive(one, tuple(relations)))
        if written.rows:
            for statement in attribution.after(one):
                self._execute(statement)
        return written

    def _derive_from_new(self, one: DerivedTable, new: NewRows) -> Written:
        """Derive what follows from the rows that were noted, then what the other staged ones touch.

        Those were taken away, or are here since before what is derived from them was: as after a table was lost.
        """
        for statement in derived.before(one):
            self.session.execute(statement)
        self.session.execute(HASHED_JOINS.format("on"))
        written = self.counted(derived.derive_new(one, new))
        self.session.execute(HASHED_JOINS.format("off"))
        staged = stage_name(MESSAGE_TABLES[new.source])
        others = f"(SELECT s.* FROM {staged} AS s WHERE s.hash NOT IN (SELECT n.hash FROM {new.name} AS n))"
        self._execute(derived.stage_touched(one, [(new.source, others)]))
        gone = f"(SELECT s.* FROM {staged} AS s WHERE s.deleted_at IS NOT NULL)"
        return written + self.counted(derived.derive(one, ((new.source, gone),)))

    def _pass_gate(self, one: DerivedTable, relations: Sequence[tuple[str, str]]) -> None:
        """Keep what looks for rows of a table, and what another shard's fold makes of them, from missing each other."""
        makers = [(name, rows) for name, rows in relations if name not in one.through_rows]
        if makers and self._execute(derived.is_touched(one, makers))[0][0]:
            self.session.execute(derived.gate(one, shared=False))
        elif len(makers) < len(relations):
            self.session.execute(derived.gate(one, shared=True))

    def _mask_links(self, batch: MicroBatch) -> Written:
        deleted = 0
        if len(batch.compactions):
            self.counted(merge(LINK_COMPACTIONS))
            deleted += self.session.execute(MASK_BY_NEW_COMPACTIONS)[0][0]
        if LINKS.name in batch.rows:
            deleted += self.session.execute(MASK_STAGED_LINKS)[0][0]
        return Written(deleted=deleted)
