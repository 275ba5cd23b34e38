"""The size of a micro-batch: monotone in the backlog, the usual one near the head, bounded by memory."""

from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.feed.batch_size import BATCHES_PER_BACKLOG, MAX_BATCH_BYTES, Pace, events_per_batch
from fc_pipeline.hub.event_batch import EventBatch

backlogs = st.integers(0, 10**10)
usual_sizes = st.integers(1, 1_000_000)
sizes = st.floats(100.0, 5_000_000.0)


@given(backlogs, usual_sizes, sizes)
def test_memory_bounds_every_batch(backlog: int, usual: int, event_bytes: float):
    events = events_per_batch(backlog, usual_events=usual, event_bytes=event_bytes)
    assert events == 1 or events * event_bytes <= MAX_BATCH_BYTES


@given(backlogs, backlogs, usual_sizes, sizes)
def test_a_larger_backlog_never_gives_fewer(one: int, other: int, usual: int, event_bytes: float):
    fewer, more = (
        events_per_batch(backlog, usual_events=usual, event_bytes=event_bytes) for backlog in sorted((one, other))
    )
    assert 1 <= fewer <= more


@given(usual_sizes, st.floats(0.0, 1.0))
def test_near_the_head_it_is_the_usual_one(usual: int, share: float):
    backlog = int(usual * BATCHES_PER_BACKLOG * share)
    assert events_per_batch(backlog, usual_events=usual, event_bytes=10.0) == usual


@given(backlogs, usual_sizes)
def test_before_anything_was_read_it_is_the_usual_one(backlog: int, usual: int):
    assert events_per_batch(backlog, usual_events=usual, event_bytes=0.0) == usual


@given(st.integers(1, 10**7), usual_sizes)
def test_a_backlog_takes_several_batches_unless_it_is_small(backlog: int, usual: int):
    events = events_per_batch(backlog, usual_events=usual, event_bytes=100.0)
    assert events <= max(usual, backlog / BATCHES_PER_BACKLOG)


def test_far_behind_it_grows():
    sizes = [events_per_batch(n, usual_events=10_000, event_bytes=700.0) for n in (0, 100_000, 150_000, 1_000_000)]
    assert sizes == [10_000, 10_000, 15_000, 17_142]


def test_the_pace_of_a_feed_foretells_its_events():
    pace = Pace()
    assert (pace.expected_events(10), pace.event_bytes) == (0, 0.0)
    pace.count(EventBatch(1, 5, 6, raws=[b"x" * 30]))
    pace.count(EventBatch(1, 7, 8, raws=[b"x" * 10, b"x" * 20, b"x" * 20]))
    assert (pace.expected_events(100), pace.event_bytes) == (100, 20.0)
