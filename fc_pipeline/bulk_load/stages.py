"""The stages of a load, whatever it reads: parts by several processes, then indexes, derived tables and counts."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from fc_pipeline.bulk_load import emptying
from fc_pipeline.bulk_load.filling import fill_counts, fill_derived
from fc_pipeline.bulk_load.progress import LoadStep, Stopped
from fc_pipeline.bulk_load.structure import make_structures, triggers
from fc_pipeline.bulk_load.workers import LoadWorkers
from fc_pipeline.store import bulk_load
from fc_pipeline.store.advisory_locks import MIGRATION
from fc_pipeline.store.bulk_load import LoadPart
from fc_pipeline.tables.counts import COUNT_TABLES, CountTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import ALL_TABLES, DERIVED_TABLES
from fc_pipeline.tables.signers import KEYS
from fc_pipeline.tables.user_profiles import PROFILES

__all__ = ["CONTRACTS_STAGE", "MESSAGES_STAGE", "SNAPSHOTS_IN_LAKE", "LoadStages", "filling_steps"]

CONTRACTS_STAGE: Final = "contracts"
MESSAGES_STAGE: Final = "messages"
SNAPSHOTS_IN_LAKE: Final = "the snapshots in the lake"
"""What a load reads that is not of a node's files: each goes on only with its own."""

log = logging.getLogger(__name__)

_SORT_MEMORY_MB: Final = 256
_HASH_MEMORY_MB: Final = 128


def filling_steps(connection: sa.Connection) -> None:
    """Plan the steps by which derived tables and counts are filled, as part of a load that begins."""
    for one in (*DERIVED_TABLES, *COUNT_TABLES):
        bulk_load.add_parts(connection, one.name, [LoadPart(0, 0, 0, 0)])


@dataclass(frozen=True)
class LoadStages:
    """Works on the load that is under way; `at_once` is how many indexes and tables are made side by side."""

    engine: sa.Engine
    run_id: str
    at_once: int
    should_stop: Callable[[], bool]

    def enter(self, stage: str, *, record: bool = True) -> None:
        """Begin a stage. Raises Stopped."""
        if self.should_stop():
            raise Stopped
        if record:
            with self.engine.begin() as connection:
                bulk_load.enter_stage(connection, stage, self.run_id)
        log.info("load_stage name=%s", stage, extra={"load_progress": LoadStep(stage)})

    def load(self, workers: LoadWorkers, stage: str) -> None:
        """Load the parts of a stage that are not loaded yet. Raises Stopped, and what loading raises."""
        self.enter(stage)
        with self.engine.connect() as connection:
            parts = bulk_load.unfinished_parts(connection, stage)
        loaded = 0
        for _ in workers.load(stage, parts):
            loaded += 1
            self._tell(stage)
        if loaded < len(parts):
            raise Stopped

    def _tell(self, stage: str) -> None:
        """Have the log tell how far a stage is, of all processes together."""
        if log.isEnabledFor(logging.DEBUG):
            with self.engine.connect() as connection:
                found = bulk_load.progress(connection, stage)
            log.debug("load_progress stage=%s", stage, extra={"load_progress": LoadStep(stage, found)})

    def derive_keys(self) -> None:
        """Make the keys, by which messages are attributed to apps: after contract events, before messages."""
        self.enter("keys")
        self.make([ON_CHAIN_EVENTS.sql])
        self._fill([KEYS])
        self.make([KEYS.table.sql])

    def complete(self, loaded: Sequence[sa.Table]) -> None:
        """Indexes of what was loaded, and everything that follows from it."""
        self.enter("indexes")
        self.make(loaded)
        self.enter("derived tables")
        self._fill([one for one in DERIVED_TABLES if one not in (KEYS, PROFILES)])
        self.make([one.table.sql for one in DERIVED_TABLES if one is not PROFILES])
        self._fill([PROFILES])
        self.enter("counts")
        self._in_parallel([lambda one=one: self._count(one) for one in COUNT_TABLES])
        self.make([PROFILES.table.sql, *(one.sql for one in COUNT_TABLES)])
        self.enter("statistics")
        others = {one.sql.name: one.sql for one in ALL_TABLES.values()}
        known = {table.name for table in (*loaded, *emptying.FILLED_TABLES)}
        self._analyze([table for name, table in others.items() if name not in known])

    def hand_over(self, note: Callable[[sa.Connection], None]) -> None:
        """From here on the feed is folded; `note` writes what else the ledger is to say, in the same transaction."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(MIGRATION.until_commit())
            triggers(connection, emptying.COUNTED_SOURCES, enabled=True)
            note(connection)
            bulk_load.finish(connection)

    def make(self, tables: Sequence[sa.Table]) -> None:
        """Make the primary keys and indexes of tables, and tell the planner what is in them."""
        make_structures(self.engine, tables, at_once=self.at_once, memory_mb=_SORT_MEMORY_MB)
        self._analyze(tables)

    def _analyze(self, tables: Sequence[sa.Table]) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in tables:
                connection.exec_driver_sql(f"ANALYZE {table.schema or 'public'}.{table.name}")

    def _fill(self, several: Sequence[DerivedTable]) -> None:
        self._in_parallel([lambda one=one: self._derive(one) for one in several])

    def _in_parallel(self, work: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(max_workers=self.at_once) as pool:
            for done in [pool.submit(one) for one in work]:
                done.result()

    def _derive(self, one: DerivedTable) -> None:
        with self.engine.begin() as connection:
            if bulk_load.step_done(connection, one.name):
                fill_derived(connection, one, memory_mb=_HASH_MEMORY_MB)

    def _count(self, one: CountTable) -> None:
        with self.engine.begin() as connection:
            if bulk_load.step_done(connection, one.name):
                fill_counts(connection, one, memory_mb=_HASH_MEMORY_MB)
