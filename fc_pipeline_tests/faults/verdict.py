"""Four numbers per table: what the tables hold against what the oracle says they must."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fc_pipeline_tests.faults.oracle import Oracle
from fc_pipeline_tests.faults.oracle_rows import COUNTS, MESSAGE_TABLES, Key, Row
from fc_pipeline_tests.support.folded import FoldedDatabase

KEYS = {
    "casts": ("fid", "hash"),
    "reactions": ("fid", "type", "target"),
    "links": ("fid", "type", "target_fid"),
    "verifications": ("fid", "address"),
    "user_data": ("fid", "type"),
    "username_proofs": ("name", "type"),
    "on_chain_events": ("chain_id", "transaction_hash", "log_index"),
    "storage_lends": ("fid", "to_fid"),
    "channel_settings": ("channel_id",),
    "channel_members": ("channel_id", "fid"),
    "channel_pins": ("channel_id",),
    "channel_moderations": ("channel_id", "cast_hash"),
    "embeds": ("hash", "position"),
    "signers": ("fid", "key"),
    "storage_rents": ("chain_id", "transaction_hash", "log_index"),
    "tier_purchases": ("chain_id", "transaction_hash", "log_index"),
    "channels": ("channel_id",),
    "channel_follows": ("fid", "channel_id"),
    "user_profiles": ("fid",),
    "fid_activity": ("hour", "fid"),
}
ONLY_OF_THE_FEED = (
    "fid_activity",
    "storage_lends",
    "channel_settings",
    "channel_members",
    "channel_pins",
    "channel_moderations",
    "channels",
)
"""What no hub lists by FID."""
NOT_BY_SNAPSHOTS = {"username_proofs": {"hash"}}
"""What by-FID answers do not tell (hub-api 6.2)."""


@dataclass
class Verdict:
    """What is wrong with one table; all four are 0 where it is as it must be.

    `lost`: rows that must be live and are not. `duplicate`: one thing in two live rows, or counted twice. `stale`: live
    rows with other content, or decided by another event. `phantom`: live rows that must not be. `examples` names some.
    """

    lost: int = 0
    duplicate: int = 0
    stale: int = 0
    phantom: int = 0
    rows: int = 0
    examples: list[str] = field(default_factory=list[str])

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Lost, duplicate, stale, phantom."""
        return self.lost, self.duplicate, self.stale, self.phantom


def plain(value: Any) -> Any:
    """A column's value as the oracle writes it."""
    if isinstance(value, bytes):
        return value.hex()
    return int(value.timestamp()) if isinstance(value, datetime) else value


def read(tables: FoldedDatabase, table: str, *, live: bool = True) -> list[Row]:
    """The rows of a table, by column."""
    rows = tables.rows(f"SELECT * FROM {table}" + (" WHERE deleted_at IS NULL" if live else ""))
    return [{name: plain(value) for name, value in row._asdict().items()} for row in rows]


def evaluate(tables: FoldedDatabase, oracle: Oracle, *, by_snapshots: bool = False) -> dict[str, Verdict]:
    """Hold every table against the oracle.

    With `by_snapshots`, rows may come from by-FID answers: which event decided them is not compared then, nor what
    only the feed tells.
    """
    found: dict[str, Verdict] = {}
    for table, rows in oracle.tables.items():
        if not (by_snapshots and table in ONLY_OF_THE_FEED):
            ignored = {"version", *NOT_BY_SNAPSHOTS.get(table, ())} if by_snapshots else set[str]()
            found[table] = _compare(table, rows, read(tables, table), ignored)
    return found


def _compare(table: str, expected: Mapping[Key, Row], rows: list[Row], ignored: Collection[str]) -> Verdict:
    verdict = Verdict(rows=len(expected))
    live: dict[Key, Row] = {}
    for row in rows:
        key = tuple(row[name] for name in KEYS[table])
        verdict.duplicate += key in live
        live[key] = row
    if table in MESSAGE_TABLES:
        hashes = Counter(row["hash"] for row in rows)
        verdict.duplicate += len(rows) - len(hashes)
    for key, wanted in expected.items():
        row = live.pop(key, None)
        if row is None:
            verdict.lost += 1
            verdict.examples.append(f"lost {key}")
        elif differs := [name for name in wanted if name not in ignored and row[name] != wanted[name]]:
            if table == "fid_activity" and any(row[name] > wanted[name] for name in COUNTS):
                verdict.duplicate += 1
            else:
                verdict.stale += 1
            verdict.examples.append(f"differs {key}: " + ", ".join(f"{n}={row[n]} not {wanted[n]}" for n in differs))
    verdict.phantom += len(live)
    verdict.examples += [f"phantom {key}" for key in live]
    return verdict


def summed(verdicts: Mapping[str, Verdict]) -> tuple[int, int, int, int]:
    """The four numbers over all tables."""
    several = [verdict.numbers for verdict in verdicts.values()]
    lost, duplicate, stale, phantom = (sum(numbers) for numbers in zip(*several, strict=True))
    return lost, duplicate, stale, phantom


def assert_right(verdicts: Mapping[str, Verdict]) -> None:
    """Fail, naming some of what is wrong, unless all numbers are 0."""
    wrong = {name: (v.numbers, v.examples[:3]) for name, v in verdicts.items() if any(v.numbers)}
    assert wrong == {}, wrong
