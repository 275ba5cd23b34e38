"""From a node's files to a replica that follows the feed, resumed stage by stage where it was cut short."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from fc_pipeline.bootstrap.part import MESSAGES_STAGE
from fc_pipeline.bootstrap.plan import LEAVES_PER_PART, parts_of
from fc_pipeline.bootstrap.progress import LoadStep, Stopped
from fc_pipeline.bootstrap.root import prove_shard
from fc_pipeline.bootstrap.small_records import CONTRACTS_STAGE, NAMES_STAGE
from fc_pipeline.bootstrap.workers import LoadTask, LoadWorkers
from fc_pipeline.bulk_load import emptying
from fc_pipeline.bulk_load.filling import fill_counts, fill_derived
from fc_pipeline.bulk_load.structure import make_structures, triggers
from fc_pipeline.errors import ConfigError
from fc_pipeline.hours import Hour
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.node_db.database import NodeShard, shard_folders
from fc_pipeline.node_db.keys import FID_SPACE
from fc_pipeline.node_db.stored_trie import StoredTrie
from fc_pipeline.replica import Replica
from fc_pipeline.store import bulk_load, ledger, partition_start
from fc_pipeline.store.advisory_locks import MIGRATION
from fc_pipeline.store.bookkeeping import SNAPSHOT_ROUNDS, SNAPSHOTS
from fc_pipeline.store.bulk_load import LoadPart, LoadShard
from fc_pipeline.store.digest_tables import DIGESTED_SHARDS, FID_DIGESTS
from fc_pipeline.store.ledger import ShardOrigin
from fc_pipeline.store.load_tables import BULK_LOAD_SHARDS
from fc_pipeline.store.snapshot_ledger import ALL_FIDS
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.counts import COUNT_TABLES, CountTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import DERIVED_TABLES
from fc_pipeline.tables.signers import KEYS
from fc_pipeline.tables.user_profiles import PROFILES

__all__ = ["Bootstrap", "Loaded"]

log = logging.getLogger(__name__)

_SORT_MEMORY_MB: Final = 256
_HASH_MEMORY_MB: Final = 128
_PROVING: Final = "proof"
_INDEXES: Final = "indexes"
_DERIVING: Final = "derived tables"
_COUNTING: Final = "counts"
_ENDING: Final = "statistics"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded: the shards, how many leaves each has, proved by its header, and how long it took."""

    shards: tuple[LoadShard, ...]
    leaves: tuple[int, ...]
    seconds: float
    unproved_by_header: tuple[int, ...] = ()


@dataclass
class Bootstrap:
    """Loads the databases in `path` with so many `workers`; its log tells of stages and, at DEBUG, of parts."""

    replica: Replica
    path: Path
    run_id: str
    workers: int = 2
    should_stop: Callable[[], bool] = lambda: False
    leaves_per_part: int = LEAVES_PER_PART
    _nodes: list[NodeShard] = field(default_factory=list[NodeShard], init=False)
    _unproved: list[int] = field(default_factory=list[int], init=False)

    def execute(self) -> Loaded:
        """Load, prove, and hand over. Raises FcPipelineError, Stopped."""
        started = time.monotonic()
        if self.replica.targets is not None:
            raise ConfigError(
                "a node's files are loaded whole, and FC_TARGETS=set keeps targets alone",
                hint="set FC_TARGETS=all for this database; or fetch the targets' histories: fc-pipeline backfill",
            )
        folders = shard_folders(self.path)
        with ExitStack() as opened:
            self._nodes = [opened.enter_context(NodeShard(folder)) for folder in folders]
            shards = tuple(self._state_of(node) for node in self._nodes)
            self._begin(shards)
            task = LoadTask(tuple(folders), shards, self.replica.settings.libpq_url(), self.run_id)
            own = self._nodes if self.workers == 1 or any(one.is_in_use for one in folders) else None
            with LoadWorkers(task, self.workers, self.should_stop, own) as workers:
                self._load(workers, NAMES_STAGE)
                self._load(workers, CONTRACTS_STAGE)
                self._enter("keys")
                self._make([ON_CHAIN_EVENTS.sql])
                self._fill([KEYS])
                self._make([KEYS.table.sql])
                self._load(workers, MESSAGES_STAGE)
            leaves = self._prove(shards)
        self._complete()
        return Loaded(shards, leaves, time.monotonic() - started, tuple(self._unproved))

    def _state_of(self, node: NodeShard) -> LoadShard:
        root = StoredTrie(node).node(b"")
        if node.header is None:
            self._unproved.append(node.shard)
        told = node.header.header.shard_root if node.header is not None else root.hash if root is not None else b""
        return LoadShard(node.shard, node.height, datetime.fromtimestamp(node.block_unix, UTC), told)

    def _begin(self, shards: Sequence[LoadShard]) -> None:
        """Take up the load that was cut short, if it is of the same blocks; else begin one."""
        engine = self.replica.engine
        with engine.connect() as connection:
            is_open = bulk_load.open_load(connection) is not None
            if is_open and bulk_load.shards(connection) == list(shards):
                log.info("bootstrap_resumed path=%s", self.path)
                return
            if not is_open:
                emptying.require_empty(connection)
        self._enter("plan", record=False)
        parts = [part for node in self._nodes for part in parts_of(node, self.leaves_per_part)]
        with engine.begin() as connection:
            connection.exec_driver_sql(MIGRATION.until_commit())  # who writes now has ended, and comes after this
            if bulk_load.open_load(connection) is not None:
                emptying.empty(connection)
            else:
                emptying.require_empty(connection)
            bulk_load.forget(connection)
            bulk_load.begin(connection, str(self.path), NAMES_STAGE, self.run_id, shards)
            names = [LoadPart(one.shard, 0, FID_SPACE, 0) for one in shards]
            bulk_load.add_parts(connection, NAMES_STAGE, names)
            bulk_load.add_parts(connection, CONTRACTS_STAGE, parts)
            bulk_load.add_parts(connection, MESSAGES_STAGE, parts)
            steps = [LoadPart(0, 0, 0, 0)]
            for name in (*(one.name for one in DERIVED_TABLES), *(one.name for one in COUNT_TABLES)):
                bulk_load.add_parts(connection, name, steps)
            for one in shards:
                origin = ShardOrigin(one.shard, one.height + 1, one.block_at, len(shards))
                ledger.record_origin(connection, origin)
            emptying.prepare(connection)
        partition_start.move_back(engine, min(Hour.of(one.block_at.timestamp()) for one in shards))

    def _enter(self, stage: str, *, record: bool = True) -> None:
        if self.should_stop():
            raise Stopped
        if record:
            with self.replica.engine.begin() as connection:
                bulk_load.enter_stage(connection, stage, self.run_id)
        log.info("bootstrap_stage name=%s", stage, extra={"load_progress": LoadStep(stage)})

    def _load(self, workers: LoadWorkers, stage: str) -> None:
        self._enter(stage)
        with self.replica.engine.connect() as connection:
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
            with self.replica.engine.connect() as connection:
                found = bulk_load.progress(connection, stage)
            log.debug("bootstrap_progress stage=%s", stage, extra={"load_progress": LoadStep(stage, found)})

    def _prove(self, shards: Sequence[LoadShard]) -> tuple[int, ...]:
        self._enter(_PROVING)
        self._make([FID_DIGESTS])
        found: list[int] = []
        session = WriterSession(self.replica.settings.libpq_url(), self.run_id)
        session.open_through_faults()
        try:
            for node, shard in zip(self._nodes, shards, strict=True):
                root = prove_shard(self.replica.engine, session, node, shard)
                found.append(root.leaf_count)
                with self.replica.engine.begin() as connection:
                    column = BULK_LOAD_SHARDS.c
                    connection.execute(
                        sa.update(BULK_LOAD_SHARDS).where(column.shard == shard.shard).values(leaves=root.leaf_count)
                    )
        finally:
            session.close()
        return tuple(found)

    def _complete(self) -> None:
        """Everything that needs no file any more."""
        self._enter(_INDEXES)
        self._make(emptying.LOADED_TABLES)
        self._enter(_DERIVING)
        self._fill([one for one in DERIVED_TABLES if one not in (KEYS, PROFILES)])
        self._make([one.table.sql for one in DERIVED_TABLES if one is not PROFILES])
        self._fill([PROFILES])
        self._enter(_COUNTING)
        self._in_parallel([lambda one=one: self._count(one) for one in COUNT_TABLES])
        self._make(emptying.FILLED_TABLES)
        self._enter(_ENDING)
        self._hand_over()

    def _make(self, tables: Sequence[sa.Table]) -> None:
        make_structures(self.replica.engine, tables, at_once=self.workers, memory_mb=_SORT_MEMORY_MB)
        with self.replica.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in tables:
                connection.exec_driver_sql(f"ANALYZE {table.schema or 'public'}.{table.name}")

    def _fill(self, several: Sequence[DerivedTable]) -> None:
        self._in_parallel([lambda one=one: self._derive(one) for one in several])

    def _in_parallel(self, work: Sequence[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(max_workers=self.workers) as pool:
            for done in [pool.submit(one) for one in work]:
                done.result()

    def _derive(self, one: DerivedTable) -> None:
        with self.replica.engine.begin() as connection:
            if self._is_due(connection, one.name):
                fill_derived(connection, one, memory_mb=_HASH_MEMORY_MB)

    def _count(self, one: CountTable) -> None:
        with self.replica.engine.begin() as connection:
            if self._is_due(connection, one.name):
                fill_counts(connection, one, memory_mb=_HASH_MEMORY_MB)

    def _is_due(self, connection: sa.Connection, name: str) -> bool:
        """Whether a table is not filled yet; from now on, if this is committed, it is."""
        return bulk_load.step_done(connection, name)

    def _hand_over(self) -> None:
        """From here on the feed is folded."""
        now = datetime.now(UTC)
        with self.replica.engine.begin() as connection:
            connection.exec_driver_sql(MIGRATION.until_commit())
            triggers(connection, emptying.COUNTED_SOURCES, enabled=True)
            of_buckets = {
                bucket: (fids, records)
                for bucket, fids, records in connection.execute(
                    sa.select(SNAPSHOTS.c.bucket, sa.func.count(), sa.func.sum(SNAPSHOTS.c.records)).group_by(
                        SNAPSHOTS.c.bucket
                    )
                )
            }
            connection.execute(
                sa.insert(SNAPSHOT_ROUNDS),
                [
                    {
                        "bucket": bucket,
                        "scope": ALL_FIDS,
                        "started_at": now,
                        "finished_at": now,
                        "run_id": self.run_id,
                        "fids": of_buckets.get(bucket, (0, 0))[0],
                        "records": of_buckets.get(bucket, (0, 0))[1],
                    }
                    for bucket in range(BUCKETS)
                ],
            )
            for one in bulk_load.shards(connection):
                connection.execute(sa.insert(DIGESTED_SHARDS).values(shard=one.shard))
            bulk_load.finish(connection)
