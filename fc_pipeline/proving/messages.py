"""Proofs of messages from the tables alone: hash, signature and signer of each, of whole FIDs or of a sample."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.proof.messages import Claim, MessageProver, Verdict
from fc_pipeline.proving.signers import SignedMessage, is_registered_sql, signer_verdicts
from fc_pipeline.store.partitions import extent_of
from fc_pipeline.tables.message_claims import claim_of
from fc_pipeline.tables.message_set import MessageSet
from fc_pipeline.tables.registry import LEAF_TABLES, MESSAGE_SETS

__all__ = ["ProvedMessages", "Unproved", "prove_messages_of", "prove_sample"]

_ROWS_AT_A_TIME: Final = 2_000
_MAX_NAMED: Final = 100
_IS_REGISTERED: Final = "signer_is_registered"
_WITHOUT_NUL: Final = sa.text(
    "SELECT event_id FROM pipeline.quarantine WHERE reason = 'nul_removed' AND event_id = ANY (:versions)"
)


_Rows = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Unproved:
    """A message that is not proved."""

    table: str
    fid: int
    hash: bytes | None
    verdict: Verdict


@dataclass(slots=True)
class ProvedMessages:
    """How many messages of each table got which verdict, and the first that are not proved, of each verdict."""

    verdicts: Counter[tuple[str, Verdict]] = field(default_factory=Counter[tuple[str, Verdict]])
    unproved: list[Unproved] = field(default_factory=list[Unproved])

    @property
    def checked(self) -> int:
        """How many were looked at."""
        return sum(self.verdicts.values())

    @property
    def proved(self) -> int:
        """How many of them are proved."""
        return self.count(Verdict.PROVED)

    @property
    def is_proved(self) -> bool:
        """Whether all are that can be, and there are any."""
        still_open = sum(self.count(verdict) for verdict in Verdict if verdict.is_open)
        return self.checked > 0 and self.proved + still_open == self.checked

    def count(self, verdict: Verdict) -> int:
        """How many got a verdict."""
        return sum(count for (_, one), count in self.verdicts.items() if one is verdict)

    def add(self, table: str, claim: Claim, verdict: Verdict) -> None:
        """Count a message."""
        self.verdicts[table, verdict] += 1
        if verdict is not Verdict.PROVED and self.count(verdict) <= _MAX_NAMED:
            self.unproved.append(Unproved(table, claim.fid, claim.hash, verdict))


@dataclass(slots=True)
class _Tables:
    """Proves rows as they are read."""

    connection: sa.Connection
    found: ProvedMessages = field(default_factory=ProvedMessages)
    prover: MessageProver = field(default_factory=MessageProver)

    def prove(self, message_set: MessageSet, source: str, **parameters: object) -> None:
        """Prove the live rows of a table: `source` is SQL that selects them as `m`, from FROM on."""
        statement = sa.text(f"SELECT m.*, {is_registered_sql(message_set)} AS {_IS_REGISTERED} {source}")
        for rows in _parts(self.connection, statement, **parameters):
            claims = [claim_of(message_set, row) for row in rows]
            verdicts = [self.prover.verdict(claim) for claim in claims]
            self._look_for_nul(rows, verdicts)
            self._judge_signers(message_set, rows, verdicts)
            for claim, verdict in zip(claims, verdicts, strict=True):
                self.found.add(message_set.name, claim, verdict)

    def _look_for_nul(self, rows: _Rows, verdicts: list[Verdict]) -> None:
        """Tell apart the rows whose texts were stored without their U+0000."""
        places = [place for place, one in enumerate(verdicts) if one is Verdict.NO_ENCODING_HAS_THE_HASH]
        if not places:
            return
        versions = [rows[place]["version"] for place in places]
        cut = set(self.connection.execute(_WITHOUT_NUL, {"versions": versions}).scalars())
        for place in places:
            if rows[place]["version"] in cut:
                verdicts[place] = Verdict.IS_STORED_WITHOUT_NUL

    def _judge_signers(self, message_set: MessageSet, rows: _Rows, verdicts: list[Verdict]) -> None:
        """Ask of the rows that are proved so far whether their signers were keys, where that is not plain."""
        places = [
            place
            for place, (row, one) in enumerate(zip(rows, verdicts, strict=True))
            if one is Verdict.PROVED and not row[_IS_REGISTERED]
        ]
        judged = signer_verdicts(self.connection, [_signed(message_set, rows[place]) for place in places])
        for place, verdict in zip(places, judged, strict=True):
            verdicts[place] = verdict


def _signed(message_set: MessageSet, row: Mapping[str, Any]) -> SignedMessage:
    """Only of leaves are a row's events and its user's contract events of the same shard."""
    is_of_block = row["block_time"] is not None
    return SignedMessage(
        fid=row[message_set.author],
        signer=row["signer"],
        kind=message_set.add_type,
        network_time=row["block_time"] if is_of_block else row["timestamp"],
        is_of_block=is_of_block,
        event_id=row["version"] if is_of_block and message_set.name in LEAF_TABLES else None,
    )


def prove_messages_of(connection: sa.Connection, fid: int) -> ProvedMessages:
    """All live messages of an FID. Raises what SQLAlchemy raises."""
    tables = _Tables(connection)
    for one in MESSAGE_SETS:
        of_fid = f"FROM {one.table.qualified} AS m WHERE m.{one.author} = :fid AND m.deleted_at IS NULL"
        tables.prove(one, of_fid, fid=fid)
    return tables.found


def prove_sample(connection: sa.Connection, messages: int) -> ProvedMessages:
    """At most so many live messages, from pages taken by chance of all tables, of each by its size.

    Raises what SQLAlchemy raises.
    """
    tables = _Tables(connection)
    sizes = {one.name: extent_of(connection, one.table.qualified).pages for one in MESSAGE_SETS}
    all_pages = sum(sizes.values()) or 1
    for one in MESSAGE_SETS:
        wanted = messages * sizes[one.name] // all_pages
        if not wanted:
            continue
        # Of each page that is read few rows are taken, so that they are from many.
        percent = min(100.0, 100.0 * wanted / sizes[one.name])
        sample = (
            f"FROM (SELECT * FROM {one.table.qualified} TABLESAMPLE SYSTEM (:percent) WHERE deleted_at IS NULL "
            "ORDER BY random() LIMIT :wanted) AS m"
        )
        tables.prove(one, sample, percent=percent, wanted=wanted)
    return tables.found


def _parts(connection: sa.Connection, statement: sa.TextClause, **parameters: object) -> Iterator[_Rows]:
    """The rows by column, some at a time; the driver gives bytes as memoryviews."""
    streamed = connection.execute(statement, parameters, execution_options={"yield_per": _ROWS_AT_A_TIME})
    names = list(streamed.keys())
    for rows in streamed.partitions():
        yield [
            {n: bytes(v) if isinstance(v, memoryview) else v for n, v in zip(names, row, strict=True)} for row in rows
        ]
