"""Counts per FID, against a plain count in Python."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.fold.changes import changes_of
from fc_pipeline.tables.fid_activity import ACTIVITY_COUNTS, count_activity
from fc_pipeline_tests.support.activity import plainly
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR_UNIX,
    Event,
    blocks_of,
    cast_add,
    cast_remove,
    event_batch,
    link,
    merge,
    prune,
    reaction,
)

fid = st.integers(1, 4)
HASH = "0x" + "ab" * 20

casts = st.builds(
    lambda f, parent, url: cast_add(f, parentCastId=parent, parentUrl=url),
    fid,
    st.none() | st.builds(lambda f: {"fid": f, "hash": HASH}, fid),
    st.sampled_from((None, "chain://x")),
)
messages = st.one_of(
    casts,
    st.builds(lambda f: cast_remove(f, HASH), fid),
    st.builds(
        lambda f, t, k, a: reaction(f, t, k, add=a),
        fid,
        st.just("https://a.example") | st.tuples(fid, st.just(HASH)),
        st.sampled_from(("LIKE", "RECAST")),
        st.booleans(),
    ),
    st.builds(
        lambda f, t, k, a: link(f, t, kind=k, add=a), fid, fid, st.sampled_from(("follow", "block")), st.booleans()
    ),
)
events = st.one_of(st.builds(merge, messages), st.builds(merge, messages, casts), st.builds(prune, messages))


@given(st.lists(events, max_size=25))
def test_counts_are_those_of_a_plain_count(log: list[Event]) -> None:
    changes = changes_of(event_batch(blocks_of(log)), shard_count=None)
    rows = count_activity(changes.rows, HOUR_UNIX * 1_000_000).to_pylist()
    found = Counter({(row["fid"], name): row[name] for row in rows for name in ACTIVITY_COUNTS if row[name]})
    assert found == plainly(log)
    assert len({row["fid"] for row in rows}) == len(rows)
    assert {row["hour"].timestamp() for row in rows} <= {HOUR_UNIX}
    assert all(row["version"] >> 14 == FIRST_HEIGHT for row in rows)
    assert {row["deleted_at"] for row in rows} <= {None}
