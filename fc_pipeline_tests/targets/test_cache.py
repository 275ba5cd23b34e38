"""The set's copy in Redis: whatever becomes of Redis or of who was to tell it, the right rows are kept."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
import sqlalchemy as sa

from fc_pipeline.errors import AlreadyFolded
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.targets import coherence, owner
from fc_pipeline.targets.cache import RedisDown, TargetCache
from fc_pipeline.targets.membership import Membership
from fc_pipeline.targets.owner import OwnerSettings
from fc_pipeline.targets.recompute import SetChange
from fc_pipeline_tests.support.events import FIRST_HEIGHT, Event, blocks_of, cast_add, link, merge, micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.targets.test_selection import FRIEND, OTHER, ROOT, STRANGER, Filtered, opened


@pytest.fixture
def cache(redis_url: str) -> Iterator[TargetCache]:
    made = TargetCache(redis_url, "test")
    yield made
    made.close()


@pytest.fixture
def filtered(replica: FoldedDatabase, redis_url: str) -> Iterator[Filtered]:
    with opened(replica, redis_url, OwnerSettings((ROOT,))) as made:
        yield made


def fids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def is_sound(replica: FoldedDatabase, redis_url: str) -> bool:
    found = coherence.compare(replica.engine, redis_url)
    return found.reachable and not found.is_behind and not found.is_drift


def test_it_holds_a_set_and_the_generation_that_it_is_of(cache: TargetCache) -> None:
    assert cache.state().generation is None
    largest = 2**63 - 1
    assert cache.replace(7, fids(3, 5, largest))
    generation, found = cache.ask(fids(1, 3, 4, largest))
    assert (generation, found.tolist()) == (7, [False, True, False, True])
    assert cache.members() == (7, {3, 5, largest})
    assert cache.replace(8, fids())
    assert cache.members() == (8, set())


def test_a_change_counts_only_on_top_of_what_it_builds_on(cache: TargetCache) -> None:
    cache.replace(1, fids(1, 2))
    assert cache.apply(SetChange(1, 2, (3,), (1,)))
    assert not cache.apply(SetChange(1, 2, (9,), ()))
    assert not cache.apply(SetChange(3, 4, (9,), ()))
    assert cache.members() == (2, {2, 3})
    assert not cache.replace(1, fids(9))
    assert cache.members() == (2, {2, 3})


def test_large_changes_are_taken_over_as_a_whole(cache: TargetCache) -> None:
    cache.replace(0, np.arange(1, 20_001))
    assert cache.apply(SetChange(0, 1, tuple(range(30_001, 42_001)), tuple(range(1, 9_001))))
    assert cache.members() == (1, {*range(9_001, 20_001), *range(30_001, 42_001)})


def test_two_replicas_in_one_redis_keep_apart(cache: TargetCache, redis_url: str) -> None:
    other = TargetCache(redis_url, "other")
    cache.replace(1, fids(1))
    assert other.state().generation is None
    other.close()


def test_a_redis_that_is_gone_is_said_once(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    dead = TargetCache("redis://127.0.0.1:9/0", "test")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(RedisDown):
                dead.state()
    assert [record.message.split()[0] for record in caplog.records] == ["redis_down"]


def test_redis_emptied_in_between_costs_nothing_but_a_warming(
    filtered: Filtered, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    filtered.fold(merge(link(ROOT, FRIEND)), merge(cast_add(FRIEND, "one")))
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    with caplog.at_level(logging.WARNING):
        filtered.fold(merge(cast_add(FRIEND, "two")), merge(cast_add(STRANGER, "not this")))
    assert filtered.texts() == {"one", "two"}
    assert any("redis_warmed" in record.message for record in caplog.records)
    assert is_sound(filtered.replica, redis_url)


def test_an_old_dump_of_redis_is_not_believed(filtered: Filtered, redis_url: str) -> None:
    with filtered.replica.engine.connect() as connection:
        key = connection.scalar(sa.text("SELECT cache_key FROM pipeline.target_set"))
    filtered.fold(merge(link(ROOT, FRIEND)))
    with redis.Redis.from_url(redis_url) as client:  # as it was before the follow
        client.srem(f"fc_pipeline:targets:{key}:members", FRIEND)
        client.set(f"fc_pipeline:targets:{key}:generation", 1)
    filtered.fold(merge(cast_add(FRIEND, "kept")))
    assert filtered.texts() == {"kept"}
    assert is_sound(filtered.replica, redis_url)


def test_redis_killed_and_started_again(
    replica: FoldedDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = EmbeddedRedis(tmp_path)
    server.acquire()
    url = server.url()
    with opened(replica, url, OwnerSettings((ROOT,))) as filtered, caplog.at_level(logging.WARNING):
        filtered.fold(merge(link(ROOT, FRIEND)))
        pid = server.running_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        filtered.fold(merge(cast_add(FRIEND, "without Redis")), merge(link(ROOT, OTHER)))
        filtered.fold(merge(cast_add(OTHER, "new without Redis")), merge(cast_add(STRANGER, "no")))
        assert filtered.texts() == {"without Redis", "new without Redis"}
        assert sum("redis_down" in record.message for record in caplog.records) == 1
        assert not coherence.compare(replica.engine, url).reachable
        server.release()
        again = EmbeddedRedis(tmp_path)
        again.acquire()
        try:
            coherence.warm(replica.engine, again.url())
            assert is_sound(replica, again.url())
        finally:
            again.release()


def test_without_any_redis_postgres_is_asked(replica: FoldedDatabase) -> None:
    owner.declare_mode(replica.engine, "set")
    owner.adopt(replica.engine, OwnerSettings((ROOT,)))
    with FoldSession(replica.url, "test", targets=TargetAccess(None)) as session:
        session.fold(micro_batch(blocks_of([merge(cast_add(ROOT, "yes")), merge(cast_add(STRANGER, "no"))])))
    assert [row.text for row in replica.rows("SELECT text FROM casts")] == ["yes"]


def test_what_is_rolled_back_reaches_nobody(filtered: Filtered, redis_url: str) -> None:
    filtered.fold(merge(cast_add(ROOT)))
    filtered.height -= 1
    with pytest.raises(AlreadyFolded):
        filtered.fold(merge(link(ROOT, FRIEND)))
    filtered.height += 1
    assert set(filtered.targets()) == {ROOT}
    assert is_sound(filtered.replica, redis_url)
    filtered.fold(merge(cast_add(FRIEND, "not followed")), merge(link(ROOT, OTHER)))
    assert set(filtered.targets()) == {ROOT, OTHER}
    assert "not followed" not in filtered.texts()


def _fold_and_die(url: str, redis_url: str, height: int) -> None:
    """A worker that commits a follow, and is killed before Redis hears of it."""

    def die(self: TargetCache, change: SetChange) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return False

    TargetCache.apply = die
    with FoldSession(url, "dies", targets=TargetAccess(redis_url)) as session:
        session.fold(micro_batch(blocks_of([merge(link(ROOT, FRIEND))], first_height=height)))


@pytest.mark.slow
def test_killed_between_the_commit_and_the_update_of_redis(filtered: Filtered, redis_url: str) -> None:
    filtered.fold(merge(cast_add(ROOT, "warms Redis")))
    worker = multiprocessing.get_context("spawn").Process(
        target=_fold_and_die, args=(filtered.replica.url, redis_url, filtered.height)
    )
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    filtered.height += 1
    assert set(filtered.targets()) == {ROOT, FRIEND}
    assert coherence.compare(filtered.replica.engine, redis_url).is_behind
    filtered.fold(merge(cast_add(FRIEND, "after the restart")))
    assert filtered.texts() == {"warms Redis", "after the restart"}
    assert is_sound(filtered.replica, redis_url)


def test_drift_is_found_both_ways_and_put_right(filtered: Filtered, redis_url: str) -> None:
    filtered.fold(merge(link(ROOT, FRIEND)), merge(link(ROOT, OTHER)))
    filtered.complete()
    with redis.Redis.from_url(redis_url) as client:
        (key,) = [name for name in client.scan_iter() if name.endswith(b":members")]
        client.srem(key, FRIEND)
        client.sadd(key, STRANGER)
    found = coherence.repair(filtered.replica.engine, redis_url)
    assert (found.is_drift, found.missing, found.extra) == (True, (FRIEND,), (STRANGER,))
    assert is_sound(filtered.replica, redis_url)
    # What it did meanwhile may have been left out.
    waiting = filtered.replica.rows("SELECT fid FROM pipeline.targets WHERE synced_at IS NULL")
    assert [row.fid for row in waiting] == [FRIEND]
    assert not coherence.repair(filtered.replica.engine, redis_url).is_drift


def test_a_local_copy_answers_as_redis_does_while_the_set_changes(replica: FoldedDatabase, redis_url: str) -> None:
    with opened(replica, redis_url, OwnerSettings((ROOT,))) as filtered:
        query = filtered.session._session.query
        with TargetCacheOf(replica, redis_url) as cache:
            local, remote, alone = (
                Membership(query, cache, local_above=0),
                Membership(query, cache),
                Membership(query, None),
            )
            asked = np.arange(1, 60)
            for events in (
                [merge(link(ROOT, fid)) for fid in (FRIEND, OTHER)],
                [merge(cast_add(ROOT))],
                [merge(link(ROOT, OTHER, 10**8 * 2, add=False)), merge(link(ROOT, 50))],
            ):
                filtered.fold(*events)
                filtered.complete()
                generation = query(sa.text("SELECT generation FROM pipeline.target_set"))[0][0]
                answers = [one.among(asked, generation).tolist() for one in (local, remote, alone)]
                assert answers[0] == answers[1] == answers[2]
                assert set(asked[answers[0]].tolist()) == set(filtered.targets())


class TargetCacheOf(TargetCache):
    """The cache of a replica."""

    def __init__(self, replica: FoldedDatabase, redis_url: str) -> None:
        super().__init__(redis_url, replica.rows("SELECT cache_key FROM pipeline.target_set")[0][0])

    def __enter__(self) -> "TargetCacheOf":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _events(worker: int, number: int) -> list[Event]:
    """A root of this worker follows somebody; what both workers' targets say in the same block."""
    return [
        merge(link(100 + worker, 1000 * (worker + 1) + number)),
        *(
            merge(cast_add(1000 * (other + 1) + n, f"{worker}.{number}.{other}.{n}"))
            for other in (0, 1)
            for n in (number, 0)
        ),
    ]


@pytest.mark.slow
def test_several_workers_at_once(replica: FoldedDatabase, redis_url: str) -> None:
    owner.declare_mode(replica.engine, "set")
    owner.adopt(replica.engine, OwnerSettings((100, 101)))
    batches = {
        worker: [
            micro_batch(
                blocks_of(_events(worker, n), shard=worker + 1, first_height=FIRST_HEIGHT + n), shard=worker + 1
            )
            for n in range(40)
        ]
        for worker in (0, 1)
    }
    failed: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            with FoldSession(replica.url, f"worker {worker}", targets=TargetAccess(redis_url)) as session:
                for batch in batches[worker]:
                    session.fold(batch)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []
    expected = {100, 101, *(1000 * (worker + 1) + n for worker in (0, 1) for n in range(40))}
    assert {row.fid for row in replica.rows("SELECT fid FROM pipeline.targets")} == expected
    assert is_sound(replica, redis_url)
    # Whatever somebody said in the very block of the follow, or once its root had followed him, is there.
    found = {row.text for row in replica.rows("SELECT text FROM casts")}
    own = {f"{worker}.{n}.{worker}.{said}" for worker in (0, 1) for n in range(40) for said in (n, 0)}
    assert own <= found
    with replica.engine.begin() as connection:
        pending = frozenset(connection.scalars(sa.text("SELECT fid FROM pipeline.targets")))
    with FoldSession(replica.url, "replay", targets=TargetAccess(None, pending)) as session:
        for worker in (0, 1):
            for batch in batches[worker]:
                session.refold(batch)
    everything = {f"{w}.{n}.{other}.{said}" for w in (0, 1) for n in range(40) for other in (0, 1) for said in (n, 0)}
    assert {row.text for row in replica.rows("SELECT text FROM casts")} == everything
