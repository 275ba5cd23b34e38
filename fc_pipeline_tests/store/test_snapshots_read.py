"""What is read of the snapshots' ledger at once, of however many users."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.store import snapshot_ledger
from fc_pipeline.store.bookkeeping import SNAPSHOTS
from fc_pipeline_tests.support.folded import FoldedDatabase

AT = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MANY = 110_000
"""More than are asked for at a time."""


@pytest.fixture
def connection(replica: FoldedDatabase) -> Any:
    """Users 1 to 6, each fetched an hour after the one before; those of even FIDs were folded, as of ten times it."""
    with replica.engine.begin() as opened:
        for fid in range(1, 7):
            values = {
                "fid": fid,
                "shard": 1,
                "bucket": fid % 2,
                "version": 10 * fid,
                "until_id": 10 * fid,
                "file": "file",
                "records": 1,
                "requests": 1,
                "fetched_at": AT + fid * HOUR,
                "run_id": "run",
            }
            folded = {"folded_version": 10 * fid, "folded_file": "file", "folded_at": AT + (fid + 1) * HOUR}
            opened.execute(sa.insert(SNAPSHOTS).values(values | (folded if fid % 2 == 0 else {})))
        yield opened


def test_fetched_since_each_buckets_round_was_begun(connection: sa.Connection) -> None:
    def fetched(begun: dict[int, datetime]) -> list[int]:
        return snapshot_ledger.fetched_fids(connection, begun).tolist()

    assert fetched({0: AT + 3 * HOUR, 1: AT + 5 * HOUR}) == [4, 5, 6]
    assert fetched({1: AT}) == [1, 3, 5]
    assert fetched({}) == []


def test_folded_since_a_moment_and_as_of_an_event(connection: sa.Connection) -> None:
    assert snapshot_ledger.folded_fids(connection, range(1, 7)) == {2, 4, 6}
    assert snapshot_ledger.folded_fids(connection, [1, 2, 3, 9]) == {2}
    assert snapshot_ledger.folded_fids(connection, range(MANY), since=AT + 5 * HOUR) == {4, 6}
    assert snapshot_ledger.folded_as_of(connection, range(MANY), 40) == {4, 6}
    assert snapshot_ledger.folded_as_of(connection, {4, 5, 6}, 41) == {6}
    assert snapshot_ledger.folded_as_of(connection, [], 1) == set()


def test_known_users_of_buckets(connection: sa.Connection) -> None:
    assert sorted(snapshot_ledger.known_fids(connection, [0, 1], 2).tolist()) == [1, 2, 3, 4, 5, 6]
    assert sorted(snapshot_ledger.known_fids(connection, [1], 2).tolist()) == [1, 3, 5]
