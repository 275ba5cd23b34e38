"""What is not known of a live set is told, with what completes it."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.live_set.known import KnownSet, known_sets
from fc_pipeline_tests.support.events import Event, Json, blocks_of, cast_add, cast_remove, merge, micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase


@pytest.fixture
def session(replica: FoldedDatabase) -> Iterator[FoldSession]:
    with FoldSession(replica.url, "known") as opened:
        yield opened


def blocks(*contents: list[Event], first: int = 1) -> dict[int, list[bytes]]:
    return {height: list(events) for height, events in blocks_of(*contents, first_height=first).items()}


def known(replica: FoldedDatabase) -> KnownSet:
    with replica.engine.connect() as connection:
        (found,) = known_sets(connection)
    return found


def test_a_feed_from_the_first_block_on_is_whole(replica: FoldedDatabase, session: FoldSession) -> None:
    session.fold(micro_batch(blocks([merge(cast_add(5))], [merge(cast_add(6))]), shard_count=2))
    assert known(replica) == KnownSet(1, 1, 0, only_targets=False)
    assert known(replica).is_whole
    assert known(replica).lacks == ()


def test_a_feed_that_began_later_lacks_what_was_before(replica: FoldedDatabase, session: FoldSession) -> None:
    session.fold(micro_batch(blocks([merge(cast_add(5))], first=70), shard_count=2))
    assert known(replica) == KnownSet(1, 70, 0, only_targets=False)
    assert not known(replica).is_whole
    assert "from height 70 on" in known(replica).lacks[0]


def test_a_hole_counts_as_a_late_beginning_until_it_is_filled(replica: FoldedDatabase, session: FoldSession) -> None:
    log = blocks([merge(cast_add(1))], [merge(cast_add(2))], [merge(cast_add(3))])
    for height in (1, 3, 2):
        session.fold(micro_batch(log, height, height, shard_count=2))
        assert known(replica).since == {1: 1, 3: 3, 2: 1}[height]


def test_what_an_older_release_folded_is_not_known(replica: FoldedDatabase, session: FoldSession) -> None:
    session.fold(micro_batch(blocks([merge(cast_add(5))]), shard_count=2))
    with replica.engine.begin() as connection:
        connection.execute(sa.text("UPDATE pipeline.coverage SET tables = array_remove(tables, 'other_leaves')"))
    assert known(replica).since is None
    assert "blocks are missing" in known(replica).lacks[0]


def test_an_event_in_quarantine_is_not_known(replica: FoldedDatabase, session: FoldSession) -> None:
    broken: Json = {**cast_remove(5, "0x" + "aa" * 20), "hash": "0x1234"}
    session.fold(micro_batch(blocks([merge(cast_add(5)), merge(broken)]), shard_count=2))
    assert known(replica).quarantined == 1
    assert not known(replica).is_whole
    assert "1 events are in quarantine" in known(replica).lacks[0]


def test_where_only_targets_are_kept_no_root_can_be_made(replica: FoldedDatabase, session: FoldSession) -> None:
    session.fold(micro_batch(blocks([merge(cast_add(5))]), shard_count=2))
    with replica.engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO pipeline.target_set (mode, cache_key) VALUES ('set', 'test')"))
    assert "targets alone" in known(replica).lacks[0]
