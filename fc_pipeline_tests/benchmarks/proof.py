"""The live set of a whole network against a node: making digests, an audit without a difference, and single damages.

Requests and bytes do not depend on what else the machine does; seconds do, so those of a hash are measured beside them.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import sqlalchemy as sa
from blake3 import blake3

from fc_pipeline.config.settings import Settings
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.live_set.digests import DigestKeeper
from fc_pipeline.live_set.state import LiveSetView
from fc_pipeline.proving.root import RootProof, prove_root
from fc_pipeline.proving.shard_proof import fid_of
from fc_pipeline.proving.sides import LiveShard
from fc_pipeline_tests.benchmarks.network import NetworkSize
from fc_pipeline_tests.benchmarks.proof_damage import KINDS, Damage, damaged, drawn
from fc_pipeline_tests.benchmarks.proof_network import SHARDS, fill_live_set
from fc_pipeline_tests.benchmarks.proof_node import DamagedShard, SoundNode, SoundTrie, serving_node
from fc_pipeline_tests.benchmarks.stage import open_stage, peak_rss_bytes

__all__ = ["audit", "make_digests", "network_of", "prove_network"]

_SEED: Final = 18
_MOST_REQUESTS: Final = 60
_NETWORK_LEAVES: Final = 914e6
_NETWORK_FIDS: Final = 3.35e6
_HASHES: Final = 200_000
_LIVE_SET_TABLES: Final = ("other_leaves", "fid_digests", "touched_fids", "stale_fids", "digested_shards")

Figures = dict[str, dict[str, Any]]


def network_of(users: int, rows: int) -> NetworkSize:
    """A network of about so many rows that are leaves, the mix of a real one."""
    return NetworkSize(users, casts=rows // 5, reactions=rows * 58 // 100, follows=rows * 18 // 100)


def prove_network(folder: Path, size: NetworkSize, *, damages: int) -> Figures:
    """Fill a network, make its digests in a process of its own, audit it sound and with each of `damages` damages."""
    with open_stage(folder) as stage:
        settings = stage.settings()
        filled = fill_live_set(settings, size)
        before = stage.postgres_cpu_seconds()
        made = _in_own_process("digests", settings)
        made["digests_postgres_cpu_seconds"] = stage.postgres_cpu_seconds() - before
        leaves = made["digests_leaves"]
        whole = {**filled, **made, **_space(settings, leaves), "hashes_per_second": _hashes_per_second()}
        whole["digests_seconds_per_million"] = made["digests_seconds"] * 1e6 / leaves
        whole["network_digests_hours"] = whole["digests_seconds_per_million"] * _NETWORK_LEAVES / 1e6 / 3600
        whole |= _in_own_process("audit", settings)
        whole["network_audit_seconds"] = whole["audit_seconds"] * _NETWORK_FIDS / size.users
        engine = sa.create_engine(settings.sqlalchemy_url())
        by_kind = _damage_each(settings, engine, damages, size.users)
        engine.dispose()
    return {"proof": whole, "proof_damages": by_kind}


def _space(settings: Settings, leaves: int) -> dict[str, float]:
    engine = sa.create_engine(settings.sqlalchemy_url())
    size = sa.text("SELECT pg_total_relation_size(to_regclass('pipeline.' || :name))")
    with engine.connect() as connection:
        found = {name: int(connection.scalar(size, {"name": name}) or 0) for name in _LIVE_SET_TABLES}
        whole = int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)
    engine.dispose()
    live_set = sum(found.values())
    return {
        **{f"bytes_{name}": size for name, size in found.items()},
        "bytes_database": whole,
        "live_set_of_the_rest": live_set / (whole - live_set),
        "live_set_bytes_per_leaf": live_set / leaves,
    }


def _hashes_per_second() -> float:
    """Short ones, on one core, as the machine is now."""
    path = bytes(52)
    started = time.perf_counter()
    for _ in range(_HASHES):
        blake3(path).digest(20)
    return _HASHES / (time.perf_counter() - started)


def _in_own_process(name: str, settings: Settings) -> dict[str, float]:
    """One measurement in a process of its own, whose memory is its own."""
    command = [sys.executable, "-m", "fc_pipeline_tests.benchmarks.proof", name, settings.libpq_url()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def make_digests(url: str) -> dict[str, float]:
    """Make the digests of all FIDs, of which there are none yet."""
    memory, cpu = peak_rss_bytes(), time.process_time()
    with DigestKeeper(url, "bench", len(SHARDS)) as keeper:
        made = keeper.refresh()
    return {
        "digests_fids": made.fids,
        "digests_leaves": made.leaves,
        "digests_seconds": made.seconds,
        "digests_cpu_seconds": time.process_time() - cpu,
        "digests_peak_mb": peak_rss_bytes() / 1e6,
        "digests_added_mb": (peak_rss_bytes() - memory) / 1e6,
    }


def audit(url: str) -> dict[str, float]:
    """Prove the sound replica as `prove` does: the state of the tables from the digests, and what a node says."""
    with LiveSetView(url, "bench", len(SHARDS)) as view:
        with view.one_moment() as states:
            node = SoundNode({state.shard: SoundTrie.of(state) for state in states})
        memory = peak_rss_bytes()
        with serving_node(node) as address:
            started, cpu = time.perf_counter(), time.process_time()
            with view.one_moment() as states:
                proofs, requests = asyncio.run(_prove(address, states))
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if not all(proof.is_proved for proof in proofs):
        raise SystemExit("the sound replica is not proved")
    return {
        "audit_seconds": seconds,
        "audit_cpu_seconds": cpu,
        "audit_requests": requests,
        "audit_leaves": sum(proof.ours.leaf_count for proof in proofs),
        "audit_peak_mb": peak_rss_bytes() / 1e6,
        "audit_added_mb": (peak_rss_bytes() - memory) / 1e6,
    }


async def _prove(address: str, states: Sequence[LiveShard]) -> tuple[list[RootProof], int]:
    async with GrpcNode(HubEndpoint(address)) as node:
        return [await prove_root(state, node) for state in states], node.requests


def _damage_each(settings: Settings, engine: sa.Engine, damages: int, users: int) -> dict[str, dict[str, Any]]:
    """By kind of damage: how many were found, and by how many requests, headers among them."""
    chance = Random(_SEED)
    with LiveSetView(settings.libpq_url(), "bench", len(SHARDS)) as view:
        with engine.connect() as connection:
            chosen = [drawn(connection, chance, KINDS[number % len(KINDS)], users) for number in range(damages)]
        with view.one_moment() as states:
            tries = {state.shard: SoundTrie.of(state) for state in states}
            for one in chosen:
                for fid in one.fids:
                    tries[one.shard].keep_leaves(view, fid)
        asked: dict[str, list[int]] = {kind: [] for kind in KINDS}
        found: Counter[str] = Counter()
        with serving_node(SoundNode(tries)) as address:
            for one in chosen:
                with damaged(engine, one), view.one_moment() as states:
                    (state,) = (each for each in states if each.shard == one.shard)
                    shard = DamagedShard(tries[one.shard], state, one.fids)
                    proofs, requests = asyncio.run(_prove(address, [shard]))
                asked[one.kind].append(requests)
                found[one.kind] += _is_found(one, proofs, requests)
    return {
        kind: {
            "damages": len(requests),
            "found": found[kind],
            "mean_requests": statistics.mean(requests),
            "most_requests": max(requests),
        }
        for kind, requests in asked.items()
        if requests
    }


def _is_found(damage: Damage, proofs: list[RootProof], requests: int) -> bool:
    """Whether exactly the users who were damaged are named, where they are, by few requests."""
    named = {(proof.shard, fid_of(one.prefix)) for proof in proofs for one in proof.differing}
    return named == {(damage.shard, fid) for fid in damage.fids} and requests <= _MOST_REQUESTS


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"digests": make_digests, "audit": audit}[sys.argv[1]](sys.argv[2])))
