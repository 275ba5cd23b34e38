"""Which digests an evaluation makes anew: of a small replica all, of a large one parts that go round."""

from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hours import HOUR_SECONDS
from fc_pipeline.live_set.upkeep import EXAMINED_LEAVES, part_of_hour
from fc_pipeline.proof.trie import VIRTUAL_SHARDS


@given(leaves=st.integers(0, 2_000_000_000), hour=st.integers(0, 1_000_000))
def test_parts_of_as_many_hours_as_there_are_parts_are_all_virtual_shards_once(leaves: int, hour: int) -> None:
    parts = VIRTUAL_SHARDS // len(part_of_hour(leaves, hour * HOUR_SECONDS))
    seen = [shard for n in range(parts) for shard in part_of_hour(leaves, (hour + n) * HOUR_SECONDS)]
    assert sorted(seen) == list(range(VIRTUAL_SHARDS))


@given(leaves=st.integers(0, 2_000_000_000))
def test_a_part_is_as_large_as_may_be_read_at_a_time_and_one_virtual_shard_at_least(leaves: int) -> None:
    part = len(part_of_hour(leaves, 0.0))
    assert part == 1 or part * leaves <= EXAMINED_LEAVES * VIRTUAL_SHARDS
    assert part == VIRTUAL_SHARDS or 2 * part * leaves > EXAMINED_LEAVES * VIRTUAL_SHARDS
