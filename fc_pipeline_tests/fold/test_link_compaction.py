"""LINK_COMPACT_STATE deletes by itself, older links that arrive late included (hub-api 7.4)."""

from itertools import permutations

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.tables.link_compactions import SCOPED_SINCE
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR_UNIX,
    NOW,
    Blocks,
    Event,
    blocks_of,
    compact_state,
    link,
    merge,
    micro_batch,
    prune,
)
from fc_pipeline_tests.support.folded import Dump, FoldedDatabase

LINK_TABLES = ("links", "pipeline.link_compactions")


def fold_each(replica: FoldedDatabase, writer: FoldSession, blocks: Blocks, heights: tuple[int, ...]) -> Dump:
    """Fold the blocks one by one in the given order."""
    replica.empty()
    for height in heights:
        writer.fold(micro_batch(blocks, height, height, tables=("links",)))
    return replica.dump(LINK_TABLES)


def follows(replica: FoldedDatabase) -> list[tuple[str, int]]:
    """The live links of FID 1."""
    return [tuple(r) for r in replica.rows("SELECT type, target_fid FROM links WHERE deleted_at IS NULL ORDER BY 1, 2")]


CASES: dict[str, tuple[list[Event], list[tuple[str, int]]]] = {
    "deletes what it does not name, up to its time": (
        [
            merge(link(1, 2, NOW - 5)),
            merge(link(1, 3, NOW)),
            merge(link(1, 4, NOW + 1)),
            merge(compact_state(1, [2], NOW)),
        ],
        [("follow", 2), ("follow", 4)],
    ),
    "creates nothing": ([merge(compact_state(1, [2, 3], NOW))], []),
    "a follow after it is there to stay": (
        [merge(link(1, 2, NOW - 5)), merge(compact_state(1, [9], NOW)), merge(link(1, 2, NOW + 1))],
        [("follow", 2)],
    ),
    "a removed link stays removed though it is named": (
        [
            merge(link(1, 2, NOW - 5)),
            merge(link(1, 2, NOW - 4, add=False), link(1, 2, NOW - 5)),
            merge(compact_state(1, [2], NOW)),
        ],
        [],
    ),
    "two states, the second lets go of one more": (
        [
            merge(link(1, 2, NOW - 5)),
            merge(link(1, 3, NOW - 5)),
            merge(compact_state(1, [2, 3], NOW - 1)),
            merge(compact_state(1, [3], NOW)),
        ],
        [("follow", 3)],
    ),
    "what the first state deleted, the second does not bring back": (
        [merge(link(1, 2, NOW - 5)), merge(compact_state(1, [9], NOW - 1)), merge(compact_state(1, [2], NOW))],
        [],
    ),
    "two states that both let go: the first one dates it": (
        [merge(link(1, 2, NOW - 5)), merge(compact_state(1, [8], NOW - 1)), merge(compact_state(1, [9], NOW))],
        [],
    ),
    "what the hub merged after the state stays, whatever time it claims": (
        [merge(compact_state(1, [9], SCOPED_SINCE - 1)), merge(link(1, 2, SCOPED_SINCE - 9, "block"))],
        [("block", 2)],
    ),
    "only its own type since V19": (
        [
            merge(link(1, 2, SCOPED_SINCE - 9, "block")),
            merge(link(1, 2, SCOPED_SINCE - 9)),
            merge(compact_state(1, [9], SCOPED_SINCE)),
        ],
        [("block", 2)],
    ),
    "all types before V19": (
        [
            merge(link(1, 2, SCOPED_SINCE - 9, "block")),
            merge(link(1, 3, SCOPED_SINCE - 9, "block")),
            merge(compact_state(1, [3], SCOPED_SINCE - 1)),
        ],
        [("block", 3)],
    ),
    "only its own FID": ([merge(link(5, 2, NOW - 5)), merge(compact_state(1, [9], NOW))], [("follow", 2)]),
    "the going of a state brings nothing back": (
        [merge(link(1, 2, NOW - 5)), merge(compact_state(1, [9], NOW)), prune(compact_state(1, [9], NOW))],
        [],
    ),
    "Hubble lists what it deleted": (
        [merge(link(1, 2, NOW - 5)), merge(compact_state(1, [9], NOW), link(1, 2, NOW - 5))],
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_compact_states_in_any_order(replica: FoldedDatabase, writer: FoldSession, case: str) -> None:
    events, live = CASES[case]
    blocks = blocks_of(*([event] for event in events))
    heights = tuple(sorted(blocks))
    in_order = fold_each(replica, writer, blocks, heights)
    assert follows(replica) == live
    for order in permutations(heights):
        assert fold_each(replica, writer, blocks, order) == in_order, order
    replica.empty()
    replica.fold_blocks(blocks)
    assert replica.dump(LINK_TABLES) == in_order


def test_a_masked_link_says_when_and_why(replica: FoldedDatabase) -> None:
    events = [merge(link(1, 2, NOW - 5))], [merge(compact_state(1, [9], NOW))], [merge(compact_state(1, [8], NOW + 1))]
    replica.fold(*events)
    (row,) = replica.rows("SELECT deleted_reason, extract(epoch FROM deleted_at)::bigint AS at, version FROM links")
    assert row == ("compacted", HOUR_UNIX + 1, FIRST_HEIGHT << 14 | 1)


def test_a_state_with_very_many_targets(replica: FoldedDatabase, writer: FoldSession) -> None:
    kept = list(range(10, 20_010))
    followed = [merge(link(1, target, NOW - 5)) for target in range(2, 1_002)]
    blocks = blocks_of(followed, [merge(compact_state(1, kept, NOW))])
    heights = tuple(sorted(blocks))
    in_order = fold_each(replica, writer, blocks, heights)
    assert follows(replica) == [("follow", target) for target in range(10, 1_002)]
    assert fold_each(replica, writer, blocks, heights[::-1]) == in_order


def test_written_counts_what_a_state_deleted(replica: FoldedDatabase) -> None:
    blocks = blocks_of([merge(link(1, 2, NOW - 5)), merge(link(1, 3, NOW - 5))], [merge(compact_state(1, [3], NOW))])
    with FoldSession(replica.url, "links") as session:
        first = session.fold(micro_batch(blocks, last=FIRST_HEIGHT))
        second = session.fold(micro_batch(blocks, first=FIRST_HEIGHT + 1))
    assert (first["links"].inserted, first["links"].deleted) == (2, 0)
    assert (second["links"].inserted, second["links"].updated, second["links"].deleted) == (0, 0, 1)
