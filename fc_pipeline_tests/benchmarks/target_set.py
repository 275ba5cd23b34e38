"""The target set on a real Postgres and Redis: what is done with it, each beside a client that sends FID after FID."""

import statistics
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from redis import Redis

from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.store.query import query_of
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.targets import coherence, directory, owner, recompute
from fc_pipeline.targets.cache import TargetCache
from fc_pipeline.targets.membership import Membership
from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, open_stage, rss_bytes

__all__ = ["follow_set", "open_redis", "target_set"]

SMALL_SET = 1_000
LARGE_SET = 1_000_000
ASKED = 300
ADDED = 100
OPERATIONS = 100
THREADS = 4
REPETITIONS = 15
FEW_REPETITIONS = 3

_NEW_FIDS = 50_000_000

Work = Callable[[], object]


@dataclass
class Figures:
    """Median and maximum of every measurement, in milliseconds."""

    found: dict[str, Any] = field(default_factory=dict[str, Any])

    def time(self, name: str, work: Work, repetitions: int = REPETITIONS) -> None:
        """Do it once unmeasured, so that connections are open and plans made, then some times."""
        work()
        milliseconds: list[float] = []
        for _ in range(repetitions):
            started = time.perf_counter()
            work()
            milliseconds.append((time.perf_counter() - started) * 1000)
        self.found[f"{name}_ms_median"] = statistics.median(milliseconds)
        self.found[f"{name}_ms_max"] = max(milliseconds)


def target_set(folder: Path) -> dict[str, dict[str, Any]]:
    """Everything that is done with a set of 1,000 targets and one of 1,000,000."""
    figures: dict[str, dict[str, Any]] = {}
    with open_stage(folder) as stage, open_redis(folder) as redis_url, Redis.from_url(redis_url) as plain:
        for name, size, roots in (("small_set", SMALL_SET, 10), ("large_set", LARGE_SET, 50)):
            plain.flushall()
            timed = Figures({"targets": size})
            _of_set(stage, redis_url, plain, timed, size, roots)
            figures[name] = timed.found
    return figures


@contextmanager
def open_redis(folder: Path) -> Generator[str]:
    """The embedded Redis, as `up` starts it; gives its URL."""
    server = EmbeddedRedis(folder)
    server.acquire()
    try:
        yield server.url()
    finally:
        server.release()


def follow_set(engine: sa.Engine, size: int, roots: int) -> None:
    """Make a set of `size` targets: roots 1…`roots`, and those that each of them follows, by links as a fold has them.

    All have their history; the others' FIDs follow on `roots`.
    """
    owner.declare_mode(engine, "set")
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO links (fid, type, target_fid, timestamp, hash, signer, signature, version) "
                "SELECT 1 + i % :roots, 'follow', :roots + 1 + i, to_timestamp(1700000000 + i), "
                "decode(md5(i::text), 'hex'), sha256(i::text::bytea), sha512(i::text::bytea), 1 "
                "FROM generate_series(0, :followed - 1) AS i"
            ),
            {"roots": roots, "followed": size - roots},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE links"))
    owner.add_root(engine, range(1, roots + 1), follows=True, most_followed=None)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE pipeline.targets SET synced_at = now()"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE pipeline.targets"))


def _of_set(stage: BenchmarkServers, redis_url: str, plain: Redis, timed: Figures, size: int, roots: int) -> None:
    settings = stage.settings(targets="set", redis_url=redis_url)
    engine = sa.create_engine(settings.sqlalchemy_url())
    ensure_schema(engine)
    started = time.perf_counter()
    follow_set(engine, size, roots)
    timed.found["made_seconds"] = time.perf_counter() - started
    with engine.connect() as connection:
        key = connection.scalar(sa.text("SELECT cache_key FROM pipeline.target_set"))
    cache = TargetCache(redis_url, key)
    _loading(cache, plain, timed, np.arange(1, size + 1, dtype=np.int64))
    coherence.warm(engine, redis_url)
    _asking(engine, redis_url, key, cache, plain, timed, size)
    _adding(engine, redis_url, plain, timed)
    _statistics(engine, cache, plain, timed)
    cache.close()
    engine.dispose()


def _loading(cache: TargetCache, plain: Redis, timed: Figures, fids: "np.ndarray[Any, np.dtype[np.int64]]") -> None:
    few = FEW_REPETITIONS if len(fids) > SMALL_SET else REPETITIONS
    timed.time("load", lambda: cache.replace(0, fids), few)
    some = fids[:SMALL_SET].tolist()

    def one_by_one() -> None:
        plain.delete("plain")
        for fid in some:
            plain.sadd("plain", fid)

    timed.time(f"one_by_one_load_{SMALL_SET}", one_by_one, FEW_REPETITIONS)


def _asking(
    engine: sa.Engine, redis_url: str, key: str, cache: TargetCache, plain: Redis, timed: Figures, size: int
) -> None:
    # Every other one is a target.
    fids = np.unique(np.linspace(1, 2 * size, ASKED, dtype=np.int64))
    members = f"fc_pipeline:targets:{key}:members"
    timed.time(f"ask_{ASKED}", lambda: cache.ask(fids))
    timed.time(f"one_by_one_ask_{ASKED}", lambda: [plain.sismember(members, fid) for fid in fids.tolist()])
    with engine.connect() as connection:
        query = query_of(connection)
        generation = int(query(sa.text(recompute.GENERATION))[0][0])
        by_redis = Membership(query, cache, local_above=2 * size)
        timed.time(f"among_{ASKED}_by_redis", lambda: by_redis.among(fids, generation))
        before = rss_bytes()
        local = Membership(query, cache, local_above=0)
        started = time.perf_counter()
        local.among(fids, generation)
        timed.found["local_copy_made_seconds"] = time.perf_counter() - started
        timed.found["local_copy_mb"] = local.everybody().nbytes / 1e6
        timed.found["local_copy_memory_grew_mb"] = (rss_bytes() - before) / 1e6
        timed.time(f"among_{ASKED}_by_local_copy", lambda: local.among(fids, generation))
        by_postgres = Membership(query, None, local_above=2 * size)
        timed.time(f"among_{ASKED}_by_postgres", lambda: by_postgres.among(fids, generation))
    _at_once(redis_url, key, cache, plain, timed, fids)


def _at_once(
    redis_url: str,
    key: str,
    cache: TargetCache,
    plain: Redis,
    timed: Figures,
    fids: "np.ndarray[Any, np.dtype[np.int64]]",
) -> None:
    """100 questions that arise at once: as a micro-batch asks them, and from some threads with a connection each."""
    asked = fids[:OPERATIONS]
    members = f"fc_pipeline:targets:{key}:members"
    timed.time(f"{OPERATIONS}_at_once", lambda: (cache.ask(asked), cache.state()))
    caches = [TargetCache(redis_url, key) for _ in range(THREADS)]
    clients = [Redis.from_url(redis_url) for _ in range(THREADS)]
    parts = [asked[n::THREADS] for n in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:

        def by_caches() -> None:
            def some(number: int) -> None:
                for place in range(len(parts[number])):
                    caches[number].ask(parts[number][place : place + 1])

            list(pool.map(some, range(THREADS)))

        def by_clients() -> None:
            def some(number: int) -> None:
                for fid in parts[number].tolist():
                    clients[number].sismember(members, fid)

            list(pool.map(some, range(THREADS)))

        timed.time(f"{OPERATIONS}_from_{THREADS}_threads", by_caches)
        timed.time(f"one_by_one_{OPERATIONS}_from_{THREADS}_threads", by_clients)
    timed.time(f"one_by_one_{OPERATIONS}", lambda: [plain.sismember(members, fid) for fid in asked.tolist()])
    for opened in (*caches, *clients):
        opened.close()


def _adding(engine: sa.Engine, redis_url: str, plain: Redis, timed: Figures) -> None:
    """New roots: in Postgres with their history requests, committed, and told to Redis; and the same in Redis alone."""
    numbers: Iterator[int] = count()

    def fids() -> range:
        first = _NEW_FIDS + next(numbers) * ADDED
        return range(first, first + ADDED)

    def add() -> None:
        change = owner.add_root(engine, fids(), follows=True, most_followed=None)
        coherence.publish(engine, redis_url, change)

    def one_by_one() -> None:
        for fid in fids():
            plain.sadd("plain", fid)
            plain.rpush("plain_requests", fid)

    timed.time(f"add_{ADDED}_with_requests", add)
    timed.time(f"one_by_one_add_{ADDED}_with_requests", one_by_one)
    with engine.connect() as connection:
        waiting = len(directory.pending_fids(connection))
    if waiting != ADDED * (REPETITIONS + 1):
        raise RuntimeError(f"{waiting} history requests are queued")


def _statistics(engine: sa.Engine, cache: TargetCache, plain: Redis, timed: Figures) -> None:
    def ask() -> None:
        with engine.connect() as connection:
            directory.numbers(connection)
        cache.state()

    started = time.perf_counter()
    ask()
    timed.found["statistics_of_new_generation_ms"] = (time.perf_counter() - started) * 1000
    timed.time("statistics", ask)
    timed.time("one_by_one_statistics", lambda: (plain.scard("plain"), plain.llen("plain_requests")))


def main() -> None:
    """For a look at these alone."""
    import json
    import tempfile

    with tempfile.TemporaryDirectory(prefix="fc_bench_") as folder:
        print(json.dumps(target_set(Path(folder)), indent=1))


if __name__ == "__main__":
    main()
