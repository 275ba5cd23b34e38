"""Proofs of messages from the tables alone: hash and signature of each, of whole FIDs or of a sample."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.proof.messages import MessageProver, Verdict
from fc_pipeline.tables.message_claims import claim_of
from fc_pipeline.tables.message_set import MessageSet
from fc_pipeline.tables.registry import MESSAGE_SETS

__all__ = ["ProvedMessages", "Unproved", "prove_messages_of", "prove_sample"]

_ROWS_AT_A_TIME: Final = 2_000
_MAX_NAMED: Final = 100
_WITHOUT_NUL: Final = sa.text(
    "SELECT event_id FROM pipeline.quarantine WHERE reason = 'nul_removed' AND event_id = ANY (:versions)"
)


@dataclass(frozen=True, slots=True)
class Unproved:
    """A message that is not proved."""

    table: str
    fid: int
    hash: bytes | None
    verdict: Verdict


@dataclass(slots=True)
class ProvedMessages:
    """How many messages of each table got which verdict, and the first of those that are not proved."""

    verdicts: Counter[tuple[str, Verdict]] = field(default_factory=Counter[tuple[str, Verdict]])
    unproved: list[Unproved] = field(default_factory=list[Unproved])

    @property
    def checked(self) -> int:
        """How many were looked at."""
        return sum(self.verdicts.values())

    @property
    def proved(self) -> int:
        """How many of them are proved."""
        return sum(count for (_, verdict), count in self.verdicts.items() if verdict is Verdict.PROVED)

    @property
    def is_proved(self) -> bool:
        """Whether all are that can be, and there are any."""
        without_nul = sum(count for (_, one), count in self.verdicts.items() if one is Verdict.IS_STORED_WITHOUT_NUL)
        return self.checked > 0 and self.proved + without_nul == self.checked

    def add(self, found: Unproved | None, table: str) -> None:
        """Count a message, which is proved or is not."""
        self.verdicts[table, Verdict.PROVED if found is None else found.verdict] += 1
        if found is not None and len(self.unproved) < _MAX_NAMED:
            self.unproved.append(found)


@dataclass(slots=True)
class _Tables:
    """Proves rows as they are read."""

    connection: sa.Connection
    found: ProvedMessages = field(default_factory=ProvedMessages)
    prover: MessageProver = field(default_factory=MessageProver)

    def prove(self, message_set: MessageSet, statement: sa.TextClause, **parameters: object) -> None:
        """Prove the rows of a table that a statement selects."""
        for rows in _parts(self.connection, statement, **parameters):
            unproved = [(row["version"], one) for row in rows if (one := self._unproved(message_set, row))]
            for _ in range(len(rows) - len(unproved)):
                self.found.add(None, message_set.name)
            cut = self._without_nul([version for version, _ in unproved])
            for version, one in unproved:
                is_cut = version in cut and one.verdict is Verdict.NO_ENCODING_HAS_THE_HASH
                self.found.add(replace(one, verdict=Verdict.IS_STORED_WITHOUT_NUL) if is_cut else one, message_set.name)

    def _unproved(self, message_set: MessageSet, row: Mapping[str, Any]) -> Unproved | None:
        claim = claim_of(message_set, row)
        verdict = self.prover.verdict(claim)
        return None if verdict is Verdict.PROVED else Unproved(message_set.name, claim.fid, claim.hash, verdict)

    def _without_nul(self, versions: Sequence[int]) -> set[int]:
        """Which of these events' texts were stored without their U+0000."""
        return set(self.connection.execute(_WITHOUT_NUL, {"versions": list(versions)}).scalars()) if versions else set()


def prove_messages_of(connection: sa.Connection, fid: int) -> ProvedMessages:
    """All live messages of an FID. Raises what SQLAlchemy raises."""
    tables = _Tables(connection)
    for one in MESSAGE_SETS:
        of_fid = sa.text(f"SELECT * FROM {one.table.qualified} WHERE {one.author} = :fid AND deleted_at IS NULL")
        tables.prove(one, of_fid, fid=fid)
    return tables.found


def prove_sample(connection: sa.Connection, messages: int) -> ProvedMessages:
    """At most so many live messages, from pages taken by chance of all tables, of each by its size.

    Raises what SQLAlchemy raises.
    """
    tables = _Tables(connection)
    sizes = {one.name: _pages(connection, one.table.qualified) for one in MESSAGE_SETS}
    all_pages = sum(sizes.values()) or 1
    for one in MESSAGE_SETS:
        wanted = messages * sizes[one.name] // all_pages
        if not wanted:
            continue
        # Of each page that is read few rows are taken, so that they are from many.
        percent = min(100.0, 100.0 * wanted / sizes[one.name])
        sample = sa.text(
            f"SELECT * FROM {one.table.qualified} TABLESAMPLE SYSTEM (:percent) WHERE deleted_at IS NULL "
            "ORDER BY random() LIMIT :wanted"
        )
        tables.prove(one, sample, percent=percent, wanted=wanted)
    return tables.found


def _pages(connection: sa.Connection, table: str) -> int:
    size = sa.text("SELECT pg_relation_size(to_regclass(:name)) / current_setting('block_size')::bigint")
    return connection.execute(size, {"name": table}).scalar_one()


def _parts(
    connection: sa.Connection, statement: sa.TextClause, **parameters: object
) -> Iterator[list[Mapping[str, Any]]]:
    """The rows by column, some at a time; the driver gives bytes as memoryviews."""
    streamed = connection.execute(statement, parameters, execution_options={"yield_per": _ROWS_AT_A_TIME})
    names = list(streamed.keys())
    for rows in streamed.partitions():
        yield [
            {n: bytes(v) if isinstance(v, memoryview) else v for n, v in zip(names, row, strict=True)} for row in rows
        ]
