"""A whole replica from a node's files, against the same records merged as snapshots: Postgres' CPU, speed, memory."""

import hashlib
import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
import pyarrow as pa

from fc_pipeline.bootstrap.message_rows import version_of
from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.config.settings import Settings
from fc_pipeline.hub.grpc_messages import message_json
from fc_pipeline.node_db import keys
from fc_pipeline.node_db.database import NodeShard, ShardFolder
from fc_pipeline.node_db.message_classes import MESSAGE_DATA
from fc_pipeline.node_db.records import contract_event_json
from fc_pipeline.proof.message_schema import BODIES
from fc_pipeline.reconcile.reconciler import Reconciler
from fc_pipeline.reconcile.staging import FidSnapshot
from fc_pipeline.replica import open_replica
from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, open_stage
from fc_pipeline_tests.support.node_writer import NodeWriter, home_of

__all__ = ["bootstrap_network"]

SHARDS: Final = (1, 2)
WORKERS: Final = 2
NETWORK_MESSAGES: Final = 914_000_000
CORES: Final = 8
MESSAGES_PER_FID: Final = 270
MERGED_MESSAGES: Final = 150_000
_GROUP_RECORDS: Final = 20_000
"""As backfills fold (backfill.run)."""
_TABLES: Final = {1: "casts", 2: "links", 3: "reactions"}


def bootstrap_network(folder: Path, *, messages: int) -> dict[str, dict[str, Any]]:
    """Load so many messages; merge a part of them into another database of the same server."""
    node = folder / "node"
    _write_network(node, messages)
    with open_stage(folder) as stage:
        loaded = _load(stage, stage.settings(), node, messages)
        merged = _merge(stage, stage.settings(), node)
    per_message = loaded["postgres_cpu_seconds"] / messages
    of_merge = merged["postgres_cpu_seconds"] / merged["messages"]
    cpu_seconds = loaded["cpu_seconds_per_message"] * NETWORK_MESSAGES
    return {
        "bootstrap": {**loaded, "network_hours_on_8_cores": cpu_seconds / CORES / 3600},
        "merged_as_snapshots": {**merged, "bootstrap_takes_of_postgres_cpu": per_message / of_merge},
    }


def _load(stage: BenchmarkServers, settings: Settings, node: Path, messages: int) -> dict[str, float]:
    peak = _PeakOfWorkers()
    with open_replica(settings) as replica:
        postgres_before, started = stage.postgres_cpu_seconds(), time.monotonic()
        readers_before = _children_cpu_seconds()
        with peak:
            outcome = Bootstrap(replica, node, "bench", WORKERS).execute()
        seconds = time.monotonic() - started
        postgres = stage.postgres_cpu_seconds() - postgres_before
        readers = _children_cpu_seconds() - readers_before
        with replica.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").scalar_one()
    return {
        "messages": messages,
        "leaves": sum(outcome.leaves),
        "seconds": seconds,
        "messages_per_second": messages / seconds,
        "postgres_cpu_seconds": postgres,
        "readers_cpu_seconds": readers,
        "cpu_seconds_per_message": (postgres + readers) / messages,
        "worker_peak_mb": peak.bytes / 1e6,
        "wal_bytes_per_message": float(rows) / messages,
    }


def _merge(stage: BenchmarkServers, settings: Settings, node: Path) -> dict[str, float]:
    """The same records, of the first users, as a backfill folds them: into tables that have their indexes."""
    merged = 0
    with open_replica(settings) as replica:
        before, started = stage.postgres_cpu_seconds(), time.monotonic()
        with Reconciler(settings.libpq_url(), "bench") as reconciler:
            for snapshots, batch, messages in _snapshots(node):
                reconciler.fold(snapshots, [batch])
                merged += messages
        seconds = time.monotonic() - started
        postgres = stage.postgres_cpu_seconds() - before
        del replica
    return {"messages": merged, "seconds": seconds, "postgres_cpu_seconds": postgres}


def _snapshots(node: Path) -> Iterator[tuple[list[FidSnapshot], pa.RecordBatch, int]]:
    """Groups of users of shard 1 with their records, as the lake has them."""
    now = datetime.now(UTC)
    with NodeShard(ShardFolder(1, node / "shard-1")) as shard:
        version = version_of(shard.height)
        lines: list[tuple[int, str, bytes]] = []
        fids: dict[int, None] = {}
        total = 0
        for fid, records in _users(shard):
            if len(lines) + len(records) > _GROUP_RECORDS and lines:
                yield _group(fids, lines, version, now)
                total += len(lines)
                if total >= MERGED_MESSAGES:
                    return
                lines, fids = [], {}
            fids[fid] = None
            lines += [(fid, kind, raw) for kind, raw in records]
        yield _group(fids, lines, version, now)


def _group(
    fids: dict[int, None], lines: list[tuple[int, str, bytes]], version: int, now: datetime
) -> tuple[list[FidSnapshot], pa.RecordBatch, int]:
    batch = pa.record_batch(
        {
            "fid": pa.array([fid for fid, _, _ in lines], pa.int64()),
            "shard": pa.array([1] * len(lines), pa.int32()),
            "version": pa.array([version] * len(lines), pa.int64()),
            "kind": pa.array([kind for _, kind, _ in lines]),
            "record": pa.array([raw for _, _, raw in lines], pa.binary()),
            "fetched_at": pa.array([now] * len(lines), pa.timestamp("us", tz="UTC")),
        }
    )
    return [FidSnapshot(fid, 1, version, version, now) for fid in fids], batch, len(lines)


def _users(shard: NodeShard) -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    for key in shard.keys(keys.below(keys.REGISTERED)):
        fid4 = key[2:6]
        records: list[tuple[str, bytes]] = []
        for postfix, table in _TABLES.items():
            prefix = keys.MESSAGES + fid4 + bytes((postfix,))
            records += [(table, message_json(value)) for _, value in shard.rows(keys.below(prefix))]
        for kind in (1, 3):
            prefix = keys.CONTRACT_EVENTS + bytes((kind,)) + fid4[:3]
            of_fid = (row for row in shard.rows(keys.below(prefix)) if row[0][3:7] == fid4)
            records += [("on_chain_events", contract_event_json(value)) for _, value in of_fid]
        yield int.from_bytes(fid4, "big"), records


def _write_network(path: Path, messages: int) -> None:
    """Casts, reactions, follows and removes of users who have very different numbers of them."""
    chance = random.Random(5)
    writers = {shard: NodeWriter(path / f"shard-{shard}", shard) for shard in SHARDS}
    words = [hashlib.sha256(str(number).encode()).hexdigest()[: chance.randint(2, 10)] for number in range(5_000)]
    casts: list[tuple[bytes, int]] = [(b"\1" * 20, 1)]
    written = fid = 0
    fids = max(1, messages // MESSAGES_PER_FID)
    while written < messages:
        fid += 1
        writer = writers[home_of(fid, len(SHARDS))]
        key = hashlib.sha256(f"key {fid}".encode()).digest()
        writer.registered(fid)
        writer.signer(fid, key, 9_152)
        writer.name(f"user{fid}", fid, 1_700_000_000)
        for number in range(min(messages - written, int(MESSAGES_PER_FID * chance.expovariate(1)) + 3)):
            written += 1
            kind, data = _message(chance, fid, fids, 100_000_000 + written, number, words, casts)
            digest = writer.signed(kind, fid, 100_000_000 + written, data, key)
            if kind == "CAST_ADD":
                casts[chance.randrange(len(casts)) if len(casts) > 100_000 else -1 :] = [(digest, fid)]
                if len(casts) < 100_000:
                    casts.append((digest, fid))
    for writer in writers.values():
        writer.finish(whole_trie=False)


def _message(
    chance: random.Random,
    fid: int,
    fids: int,
    timestamp: int,
    number: int,
    words: list[str],
    casts: list[tuple[bytes, int]],
) -> tuple[str, bytes]:
    data = MESSAGE_DATA(fid=fid, timestamp=timestamp)
    kind = chance.choices(("CAST_ADD", "REACTION_ADD", "LINK_ADD", "CAST_REMOVE"), (33, 45, 19, 3))[0]
    data.type = BODIES[kind].message_type
    target_hash, target_fid = chance.choice(casts)
    if kind == "CAST_ADD":
        cast = data.castAddBody
        cast.text = " ".join(chance.choices(words, k=chance.randint(3, 20)))
        if chance.random() < 0.5:
            cast.parentCastId.fid, cast.parentCastId.hash = target_fid, target_hash
        if chance.random() < 0.3:
            cast.embeds.add().url = f"https://e.example/{cast.text[:20]}"
        if chance.random() < 0.2:
            cast.mentions.append(chance.randint(1, fids))
            cast.mentionsPositions.append(0)
    elif kind == "REACTION_ADD":
        data.reactionBody.type = chance.choice((1, 1, 1, 2))
        target = data.reactionBody.targetCastId
        target.fid = target_fid
        target.hash = hashlib.blake2b(b"%d/%d" % (fid, number), digest_size=20).digest()
    elif kind == "LINK_ADD":
        data.linkBody.type, data.linkBody.targetFid = "follow", 10_000_000 + number
    else:
        data.castRemoveBody.targetHash = hashlib.blake2b(b"%d-%d" % (fid, number), digest_size=20).digest()
    return kind, data.SerializeToString()


def _children_cpu_seconds() -> float:
    """Of this process and of those that it has started and that are over."""
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


class _PeakOfWorkers:
    """The highest resident memory of any worker process, looked at ten times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for child in multiprocessing.active_children():
                try:
                    self.bytes = max(self.bytes, psutil.Process(child.pid).memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
