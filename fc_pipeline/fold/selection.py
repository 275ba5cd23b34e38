"""Selects a micro-batch's rows by the target set, and updates the set, inside the transaction.

A root's follow and what its new target does a moment later may be in one micro-batch. So what changes the set is merged
first, the set is brought up to date, and everything else is selected by what it has become.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.outcomes import events_of
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline.targets import recompute, rule
from fc_pipeline.targets.recompute import SetChange
from fc_pipeline.targets.set_session import TargetSetSession
from fc_pipeline.targets.sign_ups import METADATA_PREFIX_CHARACTERS, SIGNER_ADDED

__all__ = ["TargetAccess", "TargetSelection", "TargetsMoved"]

_ROOTS: Final = (
    "SELECT fid FROM pipeline.target_roots WHERE follows UNION SELECT s.fid FROM pipeline.target_sign_ups AS s "
    "JOIN pipeline.target_clients AS c ON c.fid = s.client_fid"
)
_PREFIXES: Final = "SELECT metadata_prefix FROM pipeline.target_clients"

Fids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TargetAccess:
    """That only targets are replicated: where their copy in Redis is, if anywhere.

    With `only`, nothing is selected but what concerns these targets: for bringing them up to date.
    """

    redis_url: str | None = field(repr=False)
    only: frozenset[int] | None = None


class TargetsMoved(Exception):
    """The set has just changed so that this transaction may change it, too: it must restart and lock the set."""


@dataclass(frozen=True, slots=True)
class _SetState:
    """What decides whether a micro-batch may change the set: its generation, its roots and apps."""

    generation: int
    mentions: bool
    roots: Fids
    prefixes: frozenset[str]


@dataclass
class TargetSelection:
    """Selects for one session, in its transactions; `stage` copies rows, `merge_staged` merges staged rows and links.

    What the transaction of `select` does to the set counts once that is committed (`publish`).
    """

    access: TargetAccess
    session: WriterSession
    stage: Callable[[DataTable, pa.Table], None]
    merge_staged: Callable[[], None]
    _state: _SetState | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Make the staging tables, and find the copy in Redis."""
        self._set = TargetSetSession(self.session, self.access.redis_url)
        self._only = None if self.access.only is None else np.array(sorted(self.access.only), np.int64)

    def close(self) -> None:
        """Close the connection to Redis."""
        self._set.close()

    def publish(self) -> None:
        """Publish what was committed to Redis."""
        self._set.publish()

    def select(self, batch: MicroBatch) -> MicroBatch:
        """The same micro-batch with what concerns targets only; locks the set until commit.

        Raises TargetsMoved, before anything is written, if the transaction must restart.
        """
        self._set.change = None
        state = self._read_state()
        acts = self._acts(batch, state)
        may_change = acts is not None
        self._set.lock(to_change=may_change)
        if self._read_state() is not state:  # another transaction was faster
            state = self._read_state()
            acts = self._acts(batch, state)
            if acts is not None and not may_change:
                raise TargetsMoved
        fids = self._fids(batch, mentions=state.mentions)
        members = fids[self._set.membership.among(fids, state.generation)]
        removed_fids: dict[int, int] = {}
        merged = () if acts is None else acts.tables
        if acts is not None:
            change = self._act(acts)
            members = np.union1d(members, np.intersect1d(fids, np.array(change.added, np.int64)))
            members = np.setdiff1d(members, np.array(change.removed, np.int64))
            removed_fids = acts.last_versions(change.removed)
        if self._only is not None:
            members = np.intersect1d(members, self._only)
        selected = self._selected(batch, members, removed_fids, mentions=state.mentions)
        return _with_outcomes(selected, batch, merged)

    def members_of(self, fids: Fids) -> Fids:
        """Those of these FIDs that are targets and selected; locks the set until commit."""
        self._set.lock(to_change=False)
        asked = np.unique(fids)
        members = asked[self._set.membership.among(asked, self._read_state().generation)]
        return members if self._only is None else np.intersect1d(members, self._only)

    def _read_state(self) -> _SetState:
        generation, mentions = self.session.execute(recompute.GENERATION)[0]
        if self._state is None or self._state.generation != generation:
            roots = np.array(sorted(row[0] for row in self.session.execute(_ROOTS)), np.int64)
            prefixes = frozenset(row[0] for row in self.session.execute(_PREFIXES))
            self._state = _SetState(generation, mentions, roots, prefixes)
        return self._state

    def _acts(self, batch: MicroBatch, state: _SetState) -> "_Acts | None":
        """The part of a micro-batch that may change the set; None if nothing may.

        When events are folded again for some targets, only a newly watched app can change the set; the follows of new
        roots are looked up when their histories are complete.
        """
        chain = batch.rows.get(ON_CHAIN_EVENTS.name)
        sign_ups = _sign_ups(chain, state.prefixes) if chain is not None and state.prefixes else None
        roots = state.roots if self._only is None else np.zeros(0, np.int64)
        if self._only is None and sign_ups is not None and len(sign_ups):
            roots = np.union1d(roots, sign_ups["fid"].to_numpy())
        links = batch.rows.get(LINKS.name)
        follows = None
        if links is not None:
            is_follow = pc.equal(links["type"], pa.scalar("follow")).to_numpy().astype(np.bool_)
            follows = links.filter(pa.array(is_follow & rule.is_member(links["fid"].to_numpy(), roots)))
        compactions = batch.compactions.filter(
            pa.array(rule.is_member(batch.compactions["fid"].to_numpy(), roots), pa.bool_())
        )
        acts = _Acts(sign_ups, follows, compactions)
        return acts if acts else None

    def _act(self, acts: "_Acts") -> SetChange:
        """Merge what may change the set, and update it."""
        if acts.sign_ups is not None:
            self.stage(ON_CHAIN_EVENTS, acts.sign_ups)
        if acts.follows is not None:
            self.stage(LINKS, acts.follows)
        self.stage(LINK_COMPACTIONS, acts.compactions)
        self._set.note_sign_ups()
        self.merge_staged()
        change = self._set.recompute(*recompute.STAGED_FOLLOWS)
        for table in (ON_CHAIN_EVENTS, LINKS, LINK_COMPACTIONS):
            self.session.execute(f"DELETE FROM stage_{table.name}")
        return change

    def _fids(self, batch: MicroBatch, *, mentions: bool) -> Fids:
        """Every FID that the micro-batch concerns, each once."""
        found: list[Fids] = []
        for name, rows in batch.rows.items():
            found += rule.concerned_fids(MESSAGE_TABLES[name], rows, mentions=mentions)
        found += [batch.touched_fids, batch.gone_casts["parent_fid"].to_numpy()]
        if mentions:
            found.append(pc.list_flatten(batch.gone_casts["mentions"].combine_chunks()).to_numpy())
        if batch.activity is not None:
            found.append(batch.activity["fid"].to_numpy())
        return rule.distinct(found)

    def _selected(
        self, batch: MicroBatch, members: Fids, removed_fids: dict[int, int], *, mentions: bool
    ) -> MicroBatch:
        rows: dict[str, pa.Table] = {}
        filtered = 0
        for name, all_rows in batch.rows.items():
            table = MESSAGE_TABLES[name]
            kept = rule.is_concerned(table, all_rows, members, mentions=mentions)
            kept |= self._kept_for_other_reasons(
                table, all_rows, batch.gone_casts, members, removed_fids, mentions=mentions
            )
            filtered += len(all_rows) - int(kept.sum())
            rows[name] = all_rows.filter(pa.array(kept, pa.bool_()))
            if table.comparison is Comparison.NAMES and self._only is None:
                rows[name] = pa.concat_tables([rows[name], *_of_others(all_rows, kept)])
        return replace(
            batch,
            rows=rows,
            leaves=_of_members(batch.leaves, members),
            touched_fids=batch.touched_fids[rule.is_member(batch.touched_fids, members)],
            activity=None if batch.activity is None else _of_members(batch.activity, members),
            rows_filtered=filtered,
        )

    def _kept_for_other_reasons(
        self,
        table: DataTable,
        rows: pa.Table,
        gone_casts: pa.Table,
        members: Fids,
        removed_fids: dict[int, int],
        *,
        mentions: bool,
    ) -> Mask:
        """Rows to keep although they do not seem to concern a target."""
        # Up to the event that took them out, they were targets.
        gone = np.array(sorted(removed_fids), np.int64)
        last_versions = np.array([removed_fids[fid] for fid in gone.tolist()], np.int64)
        kept = rule.is_concerned_before(table, rows, gone, last_versions, mentions=mentions)
        versions = rows["version"].to_numpy()
        if table is CASTS:
            named = rule.is_concerned(CASTS, _as_casts(gone_casts), members, mentions=mentions)
            of_named = np.isin(versions, gone_casts["version"].to_numpy()[named])
            kept |= of_named & rows["deleted_at"].is_valid().to_numpy().astype(np.bool_)
        return kept | rule.always_kept(table, rows) if self._only is None else kept


@dataclass(frozen=True, slots=True)
class _Acts:
    """Rows that may change the set: sign-ups through watched apps, follows by roots, and their compact states."""

    sign_ups: pa.Table | None
    follows: pa.Table | None
    compactions: pa.Table

    def __bool__(self) -> bool:
        return any(map(len, self.tables))

    @property
    def tables(self) -> Sequence[pa.Table]:
        """All of them."""
        return [rows for rows in (self.sign_ups, self.follows, self.compactions) if rows is not None]

    def last_versions(self, removed: Sequence[int]) -> dict[int, int]:
        """By which event each of these FIDs may have lost its place: the last one about it, or else any."""
        if not removed:
            return {}
        newest_compaction = int(self.compactions["version"].to_numpy().max(initial=0))
        found = dict.fromkeys(removed, newest_compaction)
        if self.follows is not None:
            about = (self.follows[name].to_numpy().tolist() for name in ("target_fid", "version"))
            for fid, version in zip(*about, strict=True):
                if fid in found:
                    found[fid] = max(found[fid], version)
        return found


class _Signer(msgspec.Struct):
    eventType: str = ""
    metadata: str = ""


def _sign_ups(rows: pa.Table, prefixes: frozenset[str]) -> pa.Table:
    """The contract events by which users signed up through an app."""
    of_signers = rows.filter(pc.equal(rows["type"], pa.scalar("signer")))
    bodies: list[Any] = of_signers["body"].to_pylist()
    signers = [msgspec.json.decode(body, type=_Signer) for body in bodies]
    is_sign_up = [
        one.eventType == SIGNER_ADDED and one.metadata[:METADATA_PREFIX_CHARACTERS] in prefixes for one in signers
    ]
    return of_signers.filter(pa.array(is_sign_up, pa.bool_()))


def _as_casts(gone_casts: pa.Table) -> pa.Table:
    """The same with the columns by which a cast concerns FIDs; its author is checked in its own row."""
    return gone_casts.append_column("fid", pa.nulls(len(gone_casts), pa.int64()))


def _with_outcomes(selected: MicroBatch, batch: MicroBatch, merged: Sequence[pa.Table]) -> MicroBatch:
    """The selection with its outcomes: events left out have no row written, and none `merged`.

    An event whose rows were all superseded within the micro-batch is none of them: its targets were not checked.
    """
    left_out = events_of([*batch.rows.values(), batch.compactions]) - events_of(
        [*selected.rows.values(), selected.compactions, *merged]
    )
    return replace(selected, outcomes=batch.outcomes.with_filtered(left_out))


def _of_members(rows: pa.Table, members: Fids) -> pa.Table:
    return rows.filter(pa.array(rule.is_member(rows["fid"].to_numpy(), members), pa.bool_()))


def _of_others(proofs: pa.Table, kept: Mask) -> list[pa.Table]:
    """The proofs that were not kept as what is left of them; released names stay as they are."""
    others = proofs.filter(pa.array(~kept, pa.bool_()))
    is_live = others["deleted_at"].is_null()
    return [rule.without_holder(others.filter(is_live)), others.filter(pc.invert(is_live))]
