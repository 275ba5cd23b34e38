"""Buckets as people write them: numbers and ranges, as the UI's own text for partitions has them, or with a dash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.backfill.scope import buckets_named
from fc_pipeline.errors import ConfigError
from fc_pipeline.lake.snapshot_log import BUCKETS, bucket_key

buckets = st.integers(0, BUCKETS - 1)
ranges = st.tuples(buckets, buckets).map(sorted)


words_of_a_range = st.sampled_from(["{0}-{1}", "[{0}...{1}]", "{0}...{1}", " {0} - {1} "])


@given(st.lists(ranges, min_size=1, max_size=5), words_of_a_range)
def test_ranges_are_all_that_lies_in_one_of_them(wanted: list[list[int]], words: str):
    text = ",".join(words.format(bucket_key(first), bucket_key(last)) for first, last in wanted)
    assert buckets_named(text) == tuple(sorted({n for first, last in wanted for n in range(first, last + 1)}))


@given(st.sets(buckets, min_size=1, max_size=9))
def test_numbers_are_themselves(wanted: set[int]):
    assert buckets_named(", ".join(map(str, wanted))) == tuple(sorted(wanted))


@pytest.mark.parametrize("text", ["", "256", "7-3", "0...256", "a", "1,,2", "1-2-3", "-1", "²"])
def test_anything_else_is_refused_by_name(text: str):
    with pytest.raises(ConfigError, match="names no buckets") as refused:
        buckets_named(text)
    assert "000...063" in (refused.value.hint or "")
