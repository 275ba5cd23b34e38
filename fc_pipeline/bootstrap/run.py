"""From a node's files to a replica that follows the feed, resumed stage by stage where it was cut short."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from fc_pipeline.bootstrap.loaders import LoadTask, NodeLoader
from fc_pipeline.bootstrap.plan import LEAVES_PER_PART, parts_of, refuse_missing_shards
from fc_pipeline.bootstrap.root import prove_shard
from fc_pipeline.bootstrap.small_records import NAMES_STAGE
from fc_pipeline.bulk_load import emptying
from fc_pipeline.bulk_load.stages import CONTRACTS_STAGE, MESSAGES_STAGE, SNAPSHOTS_IN_LAKE, LoadStages, filling_steps
from fc_pipeline.bulk_load.workers import LoadWorkers
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

__all__ = ["Bootstrap", "Loaded"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded: the shards, how many leaves each has, proved by its header, and how long it took."""

    shards: tuple[LoadShard, ...]
    leaves: tuple[int, ...]
    seconds: float
    unproved_by_header: tuple[int, ...] = ()


@dataclass
class Bootstrap:
    """Loads the databases in `path` with so many `workers`; the log tells of stages and, at DEBUG, of parts."""

    replica: Replica
    path: Path
    run_id: str
    workers: int = 2
    should_stop: Callable[[], bool] = lambda: False
    leaves_per_part: int = LEAVES_PER_PART
    _nodes: list[NodeShard] = field(default_factory=list[NodeShard], init=False)
    _unproved: list[int] = field(default_factory=list[int], init=False)

    def __post_init__(self) -> None:
        self._stages = LoadStages(self.replica.engine, self.run_id, self.workers, self.should_stop)

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
            opened.enter_context(bulk_load.alone(self.replica.engine))
            self._nodes = [opened.enter_context(NodeShard(folder)) for folder in folders]
            refuse_missing_shards(self._nodes)
            shards = tuple(self._state_of(node) for node in self._nodes)
            with self.replica.engine.connect() as connection:
                done = bulk_load.done_with(connection, shards)
            if done is not None:
                log.info("bootstrap_done_before path=%s", self.path)
                return Loaded(shards, done, time.monotonic() - started, tuple(self._unproved))
            self._begin(shards)
            task = LoadTask(tuple(folders), shards, self.replica.settings.libpq_url(), self.run_id)
            # Of a running node's files each process would see another block.
            readers = 1 if any(one.is_in_use for one in folders) else self.workers
            make = partial(NodeLoader, task, self._nodes) if readers == 1 else partial(NodeLoader, task)
            with LoadWorkers(make, readers, self.should_stop) as workers:
                self._stages.load(workers, NAMES_STAGE)
                self._stages.load(workers, CONTRACTS_STAGE)
                self._stages.derive_keys()
                self._stages.load(workers, MESSAGES_STAGE)
            leaves = self._prove(shards)
            self._stages.complete(emptying.LOADED_TABLES)
            self._stages.hand_over(self._note)
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
            found = bulk_load.open_load(connection)
            is_open = found is not None
            if found is not None and found.source == SNAPSHOTS_IN_LAKE:
                raise ConfigError(
                    f"the tables are being loaded from {found.source}",
                    hint="go on with that: fc-pipeline bootstrap --lake; or load the files into a new database",
                )
            if is_open and bulk_load.shards(connection) == list(shards):
                log.info("bootstrap_resumed path=%s", self.path)
                return
            if not is_open:
                emptying.require_empty(connection, emptying.READ)
        self._stages.enter("plan", record=False)
        parts = [part for node in self._nodes for part in parts_of(node, self.leaves_per_part)]
        with engine.begin() as connection:
            connection.exec_driver_sql(MIGRATION.until_commit())  # who writes now has ended, and comes after this
            if bulk_load.open_load(connection) is not None:
                emptying.empty(connection)
            else:
                emptying.require_empty(connection, emptying.READ)
            bulk_load.forget(connection)
            bulk_load.begin(connection, str(self.path), NAMES_STAGE, self.run_id, shards)
            names = [LoadPart(one.shard, 0, FID_SPACE, 0) for one in shards]
            bulk_load.add_parts(connection, NAMES_STAGE, names)
            bulk_load.add_parts(connection, CONTRACTS_STAGE, parts)
            bulk_load.add_parts(connection, MESSAGES_STAGE, parts)
            filling_steps(connection)
            for one in shards:
                origin = ShardOrigin(one.shard, one.height + 1, one.block_at, len(shards))
                ledger.record_origin(connection, origin)
            emptying.prepare(connection, emptying.LOADED_TABLES)
        partition_start.move_back(engine, min(Hour.of(one.block_at.timestamp()) for one in shards))

    def _prove(self, shards: Sequence[LoadShard]) -> tuple[int, ...]:
        self._stages.enter("proof")
        self._stages.make([FID_DIGESTS])
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

    def _note(self, connection: sa.Connection) -> None:
        """That every user was read at the files' height, and has a digest."""
        now = datetime.now(UTC)
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
