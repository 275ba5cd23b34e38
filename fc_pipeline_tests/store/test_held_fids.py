"""Who waits for whom: snapshots and events of different users of one shard do not, those of the same users do."""

from collections.abc import Callable

import numpy as np
import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.store.held_fids import (
    GROUP_FIDS,
    LOCK_SHARD,
    MAX_GROUPS,
    Execute,
    groups_of,
    hold_for_events,
    hold_for_snapshots,
)
from fc_pipeline_tests.support.postgres import Database

FIDS = st.lists(st.integers(0, 2**63 - 1), max_size=50)
SOME, OTHERS = [3, 259], [4, 5]
MANY = list(range(1, MAX_GROUPS + 2))
Hold = Callable[[Execute], None]


def array(fids: list[int]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(fids, np.int64)


def events(fids: list[int], shard: int = 1) -> Hold:
    return lambda execute: hold_for_events(execute, shard, array(fids))


def snapshots(fids: list[int], *shards: int) -> Hold:
    return lambda execute: hold_for_snapshots(execute, shards or (1,), array(fids))


def whole(shard: int) -> Hold:
    return lambda execute: execute(LOCK_SHARD, (shard,)) and None


@given(FIDS, FIDS)
def test_whoever_holds_a_user_twice_holds_the_same_group(some: list[int], others: list[int]) -> None:
    groups = [set(groups_of(array(fids))) for fids in (some, others, some + others)]
    assert groups[0] | groups[1] == groups[2]
    assert all(0 <= group < 2**31 for group in groups[2])
    assert groups_of(array(some)) == sorted(groups[0])


@given(st.integers(0, 255), st.integers(0, 10**6))
def test_a_chunk_of_a_bucket_is_of_two_groups_at_most(bucket: int, first: int) -> None:
    assert len(groups_of(array([bucket + 256 * (first + n) for n in range(GROUP_FIDS)]))) <= 2


@pytest.mark.parametrize(
    ("held", "wanted", "waits"),
    [
        (snapshots(SOME), snapshots(OTHERS), False),
        (snapshots(SOME), snapshots([259, 7]), True),
        (snapshots(SOME), events(OTHERS), False),
        (snapshots(SOME), events([3]), True),
        (events(SOME), snapshots(OTHERS), False),
        (events(SOME), snapshots([3]), True),
        (events(SOME), events(OTHERS), True),
        (events(SOME), events(SOME, shard=2), False),
        (events(MANY), events(OTHERS), True),
        (events(SOME), events(MANY), True),
        (events(MANY), snapshots([9_999]), True),
        (snapshots(SOME), events(MANY), True),
        (snapshots(MANY), snapshots([9_999]), True),
        (snapshots(MANY), snapshots([9_999], 2), False),
        (snapshots(SOME, 1, 2), events(OTHERS, shard=2), False),
        (snapshots(SOME, 1, 2), whole(2), True),
        (whole(1), snapshots(SOME, 1, 2), True),
        (whole(1), events([], shard=1), True),
        (whole(1), events(SOME, shard=2), False),
    ],
)
def test_who_waits_for_whom(database: Database, held: Hold, wanted: Hold, *, waits: bool) -> None:
    with psycopg2.connect(database.url) as first, psycopg2.connect(database.url) as second:
        held(executing(first))
        with second.cursor() as cursor:
            cursor.execute("SET lock_timeout TO '300ms'")
        if waits:
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                wanted(executing(second))
            second.rollback()
            first.rollback()
        wanted(executing(second))


def executing(connection: "psycopg2.extensions.connection") -> Execute:
    def execute(statement: str, parameters: tuple[object, ...]) -> object:
        with connection.cursor() as cursor:
            cursor.execute(statement.replace("$1", "%s"), parameters)
        return None

    return execute
