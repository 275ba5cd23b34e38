"""One migrated database for the whole room, emptied for each test; and how tables are looked at."""

from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.columns import METADATA, STAMPS, DataTable
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import Blocks, Event, blocks_of, micro_batch
from fc_pipeline_tests.support.postgres import fresh_database

STATE_TABLES = (*DATA_TABLES, "pipeline.link_compactions", *(one.name for one in COUNT_TABLES))
"""What a fold of the same events must leave behind byte for byte, tombstones included."""

_NOTED_BY_TRIGGERS = (*(one.name for one in COUNT_TABLES), "pipeline.removals")

Dump = dict[str, list[str]]


def as_folded(table: str | DataTable) -> str:
    """SQL for what was folded of a row of a table, as text: all but when it was written here.

    As declared: a migrated table has its columns in another order than one that was dropped and made again.
    """
    declared = DATA_TABLES.get(table) if isinstance(table, str) else table
    stamps = STAMPS if declared is None else declared.stamps
    made = METADATA.tables[table] if isinstance(table, str) else table.sql
    columns = [c.name for c in made.columns if c.name not in {one.name for one in stamps}]
    return f"ROW({', '.join(columns)})::text"


@dataclass(frozen=True)
class FoldedDatabase:
    """A migrated database: where it is, and what is in it."""

    url: str
    engine: sa.Engine

    def fold(self, *contents: list[Event] | list[bytes] | list[Event | bytes]) -> None:
        """Fold one block per list of events, all in one micro-batch."""
        self.fold_blocks(blocks_of(*contents))

    def fold_blocks(self, blocks: Blocks, shard: int = 1) -> None:
        with FoldSession(self.url, "test") as session:
            session.fold(micro_batch(blocks, shard=shard))

    def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows as named tuples, bytea as bytes."""
        with self.engine.connect() as connection:
            result = connection.execute(sa.text(query), values)
            made = namedtuple("Found", list(result.keys()), rename=True)
            return [made(*(bytes(v) if isinstance(v, memoryview) else v for v in row)) for row in result]

    def live(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        """The live rows of a table, ordered."""
        return [
            tuple(row) for row in self.rows(f"SELECT {columns} FROM {table} WHERE deleted_at IS NULL ORDER BY 1, 2")
        ]

    def quarantined(self) -> list[tuple[int, str]]:
        return [tuple(row) for row in self.rows("SELECT event_id, reason FROM pipeline.quarantine ORDER BY 1, 2")]

    def dump(self, tables: tuple[str, ...] = STATE_TABLES) -> Dump:
        """Every column of every row of the tables as text."""
        found: Dump = {}
        for table in tables:
            found[table] = [row[0] for row in self.rows(f"SELECT {as_folded(table)} FROM {table} ORDER BY 1")]
        return found

    def empty(self) -> None:
        """Delete all rows; much faster than TRUNCATE for tables as small as a test's."""
        with self.engine.begin() as connection:
            for name in (*METADATA.tables, *_NOTED_BY_TRIGGERS):
                connection.execute(sa.text(f"DELETE FROM {name}"))


@pytest.fixture(scope="session")
def folded_database(postgres: EmbeddedPostgres) -> Iterator[FoldedDatabase]:
    with fresh_database(postgres) as database:
        yield FoldedDatabase(database.url, database.engine)


@pytest.fixture
def replica(folded_database: FoldedDatabase) -> FoldedDatabase:
    """A migrated database with empty tables."""
    folded_database.empty()
    return folded_database


@pytest.fixture(scope="session")
def writer(folded_database: FoldedDatabase) -> Iterator[FoldSession]:
    """One writing session for tests that fold many times: opening one costs more than a small fold."""
    with FoldSession(folded_database.url, "shared") as session:
        yield session
