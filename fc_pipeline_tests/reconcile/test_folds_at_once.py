"""Snapshots of different users folded at the same time, beside their events: the tables are the hub's all the same."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.reconcile.reconciler import Reconciler
from fc_pipeline.store.retry import with_retries
from fc_pipeline_tests.reconcile.test_any_order import RandomHistory, check_equal
from fc_pipeline_tests.support.events import micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.random_operations import FIDS, HOME
from fc_pipeline_tests.support.small_hub import Reading, SmallHub

BLOCKS = 40
USERS_OF_WORKERS = ((1, 3), (2, 4))
"""Each worker has users of both shards, and each shard users of both workers."""


def play(replica: FoldedDatabase, seed: int) -> None:
    """A history whose first part is folded; then all that was read of users, and the events, at the same time."""
    replica.empty()
    rng = Random(seed)
    hub = SmallHub(HOME, 1)
    hub.record_origins(replica.engine)
    with FoldSession(replica.url, "feed 1") as first, FoldSession(replica.url, "feed 2") as second:
        feeds = {1: first, 2: second}
        with Reconciler(replica.url, "worker 1") as one, Reconciler(replica.url, "worker 2") as two:
            course = RandomHistory(replica, first, one, rng, hub)
            for name in ("a", "b"):
                hub.transfer(name, rng.choice(FIDS), 0, bytes(65))
            readings = happen(course)
            course.note(readings)
            work = [lambda n=n, s=s: fold_feed(s, course, n) for n, s in feeds.items()]
            work += [
                lambda r=r, u=u: fold_readings(r, [x for x in readings if x.fid in u])
                for r, u in zip((one, two), USERS_OF_WORKERS, strict=True)
            ]
            at_once(work)
            course.unfolded.clear()
            check_equal(replica, hub)


def happen(course: RandomHistory) -> list[Reading]:
    """Blocks, of which some are folded, and of each user a reading in between."""
    course.add_block()
    due = {fid: course.rng.randrange(1, BLOCKS) for fid in FIDS}
    readings: list[Reading] = []
    for number in range(1, BLOCKS):
        course.add_block()
        readings += [Reading(course.hub, fid, 1000).finish() for fid in FIDS if due[fid] == number]
        if number < BLOCKS // 4:
            course.fold_one()
    return readings


def fold_feed(session: FoldSession, course: RandomHistory, shard: int) -> None:
    heights = [height for of, height in course.unfolded if of == shard]
    Random(shard + course.clock).shuffle(heights)
    for height in heights:
        session.fold(micro_batch(course.hub.blocks(shard), height, height, shard))


def fold_readings(reconciler: Reconciler, readings: list[Reading]) -> None:
    for one in readings:

        def fold(one: Reading = one) -> Reconciled:
            return reconciler.fold([one.snapshot], [one.records], ids_before=one.ids_before, ids_after=one.ids_after)

        found = with_retries("a fold at once", fold, reopen=reconciler.reopen)
        assert found.drift == {}, found.examples


def at_once(work: list[Callable[[], None]]) -> None:
    start = Barrier(len(work))

    def run(one: Callable[[], None]) -> None:
        start.wait()
        one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(run, one) for one in work]:
            done.result()


@settings(max_examples=1, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_at_once_they_make_the_tables_the_hubs_and_nothing_is_drift(folded_database: FoldedDatabase, seed: int) -> None:
    play(folded_database, seed)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_many_times_at_once_they_make_the_tables_the_hubs_and_nothing_is_drift(
    folded_database: FoldedDatabase, seed: int
) -> None:
    play(folded_database, seed)
