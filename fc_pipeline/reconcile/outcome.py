"""What a fold of snapshots found and did: differences, how far each FID was comparable, and counts per table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fc_pipeline.fold.outcomes import Written
from fc_pipeline.reconcile import compare_sql
from fc_pipeline.tables.columns import Comparison

__all__ = ["MAX_EXAMPLES", "TABLES", "Comparability", "Difference", "Reconciled", "first_examples"]

MAX_EXAMPLES: Final = 100

TABLES: Final = tuple(t.name for t in compare_sql.COMPARED if t.comparison is not Comparison.KEYS)
"""The tables that feed and snapshots both speak of."""


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


class Comparability(NamedTuple):
    """Of one FID the tables in which every difference is drift.

    `awaits_ledger`: all of them will be such once the ledger has come to where the snapshot ended; else the FID's
    history is not covered.
    """

    tables: frozenset[str]
    awaits_ledger: bool

    @property
    def is_whole(self) -> bool:
        """Whether it is so in every table."""
        return len(self.tables) == len(TABLES)


@dataclass(frozen=True)
class Reconciled:
    """What a fold of snapshots did or, where it was not to write, would have done; counts per table.

    `drift` counts differences in covered histories, `history` all others; tables without any are left out.
    `uncovered_fids` are FIDs whose history is not covered, `outdated_fids` those of which a newer snapshot was folded.
    `examples` holds some of the differences, drift first; history only where nothing was written, and only there
    `differing_fids` says of which FIDs the differences are, and `comparability` how far each FID was comparable.
    """

    written: Mapping[str, Written] = field(default_factory=dict[str, Written])
    drift: Mapping[str, int] = field(default_factory=dict[str, int])
    history: Mapping[str, int] = field(default_factory=dict[str, int])
    quarantined: int = 0
    messages: int = 0
    fids: int = 0
    uncovered_fids: int = 0
    outdated_fids: int = 0
    examples: Sequence[Difference] = ()
    differing_fids: frozenset[int] = frozenset()
    comparability: Mapping[int, "Comparability"] = field(default_factory=dict[int, "Comparability"])

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
            self.uncovered_fids + other.uncovered_fids,
            self.outdated_fids + other.outdated_fids,
            first_examples([*self.examples, *other.examples]),
            self.differing_fids | other.differing_fids,
            {**self.comparability, **other.comparability},
        )


def _sum(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {name: some.get(name, 0) + more.get(name, 0) for name in (*some, *(more.keys() - some.keys()))}


def first_examples(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """As many examples as are kept, drift first."""
    return tuple(sorted(found, key=lambda one: not one.is_drift)[:MAX_EXAMPLES])
