"""Promises of docs/concepts.md that no bad hub is needed for, held against the oracle."""

from pathlib import Path

import pytest

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import Hour
from fc_pipeline_tests.faults.results import with_a_slow_one
from fc_pipeline_tests.faults.stage import stage
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    block,
    cast_add,
    compact_state,
    link,
    merge,
    merge_proof,
    proof,
    user_data,
)
from fc_pipeline_tests.support.networks import generated_network
from fc_pipeline_tests.support.postgres import Database


@with_a_slow_one
@pytest.mark.usefixtures("in_haste")
def test_the_newest_hour_first_and_then_all_again(database: Database, tmp_path: Path, seed: int) -> None:
    """A remove is folded hours before what it removes; folding everything a second time writes nothing."""
    lines = generated_network(seed)
    first = Hour.of(HOUR_UNIX)
    with stage("newest hour first, then again", seed, lines, database, tmp_path) as on:
        for hour in (first.next, first):
            on.bench.run(f"of {hour.key}", HourWindow(hour, hour))
        on.end()
        again = on.bench.rebuild()
        assert sum(hour.rows_written for hour in again.hours) == 0
        on.end(ended="complete, and again")


def test_what_a_merge_displaced_is_gone_whatever_its_key(database: Database, tmp_path: Path) -> None:
    """Applied by what the hub says it displaced (hub-api 7.2), not by what the new message's key would."""
    old, new = cast_add(1, "old"), cast_add(1, "new")
    shown = user_data(1, "URL", "https://old")
    lines = [
        *block(1_000, [merge(old), merge(shown)]),
        *block(1_001, [merge(new, old), merge(user_data(1, "BIO", "moved"), shown)]),
    ]
    with stage("displaced rows of other keys", 0, lines, database, tmp_path) as on:
        on.catch_up()
        on.end()


def test_a_name_goes_by_its_proof_where_shards_are_of_different_heights(database: Database, tmp_path: Path) -> None:
    """The newest transfer has come over the shard with the lower heights alone by now."""
    old, new = proof("name", 5, HOUR_UNIX - 900), proof("name", 6, HOUR_UNIX - 300)
    lines = [
        *block(900_000, [merge_proof(old)], shard=1, unix=HOUR_UNIX + 1),
        *block(1_000, [merge_proof(old)], shard=2, unix=HOUR_UNIX + 1),
        *block(1_001, [merge_proof(new, old)], shard=2, unix=HOUR_UNIX + 2),
    ]
    with stage("a name over one shard", 0, lines, database, tmp_path) as on:
        on.catch_up()
        holders = on.bench.rows("SELECT fid FROM username_proofs WHERE name = 'name' AND deleted_at IS NULL")
        assert [row.fid for row in holders] == [6]
        on.end()


def test_a_compact_state_leaves_newer_links_and_other_types_alone(database: Database, tmp_path: Path) -> None:
    """It was made before a link that has come before it (hub-api 7.4)."""
    links = [merge(link(1, target, NOW + age, kind)) for target, age, kind in LINKS]
    lines = [*block(1_000, links), *block(1_001, [merge(compact_state(1, [2], NOW + 5))])]
    with stage("a compact state behind newer links", 0, lines, database, tmp_path) as on:
        on.catch_up()
        left = on.bench.tables.live("links", "target_fid, type")
        assert left == [(2, "follow"), (4, "follow"), (5, "block")]
        on.end()


LINKS = ((2, 0, "follow"), (3, 0, "follow"), (4, 9, "follow"), (5, 0, "block"))
"""Target, seconds of age, and type: what the state names, what it masks, what is newer, what is of another type."""
