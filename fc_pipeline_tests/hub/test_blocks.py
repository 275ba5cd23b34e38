import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fc_pipeline.hub.decode import batch_from_raws, decode_events, decode_in_order, split_page
from fc_pipeline.hub.event_batch import EventBatch, block_times_of
from fc_pipeline.hub.feed import BlockCutter
from fc_pipeline_tests.support.acted_hub import Event, confirmed, failure


def raw(event: Event) -> bytes:
    return json.dumps(event).encode()


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    """Blocks with holes, without BLOCK_CONFIRMED, empty, long, and with records that do not decode."""
    log: list[bytes] = []
    height = 10
    confirms = draw(st.booleans())
    for gap, events in draw(st.lists(st.tuples(st.sampled_from([1, 1, 1, 3]), st.integers(0, 6)), max_size=25)):
        height += gap
        if confirms:
            log.append(raw(confirmed(height, 1_700_000_000 + height)))
        for seq in range(1, events + 1):
            bad = draw(st.sampled_from([None] * 8 + ["type", "id"]))
            event = failure(height, seq)
            if bad == "type":
                event["type"] = 5
            elif bad == "id" and log:
                event["id"] = "x"
            log.append(raw(event))
    return log


def cut(log: list[bytes], sizes: list[int], from_height: int = 11) -> list[EventBatch]:
    cutter = BlockCutter(1, from_height)
    batches: list[EventBatch] = []
    at = 0
    while at < len(log):
        size = sizes.pop() if sizes else len(log)
        page = decode_in_order(log[at : at + size], floor=cutter.next_event_id, previous_id=cutter.next_event_id)
        at += size
        next_id = page.last_id + 1 if page.last_id is not None else cutter.next_event_id
        batches += cutter.add(page, next_id, at_tip=at >= len(log), oldest_height=from_height)
    return batches


def essence(batches: list[EventBatch]) -> tuple[object, ...]:
    """What a reader gets, whatever the number of batches."""
    covered = [height for batch in batches for height in range(batch.from_height, batch.to_height + 1)]
    raws = [one for batch in batches for one in batch.raws]
    events = [event.id for batch in batches for event in batch.events]
    bad = [one.raw for batch in batches for one in batch.undecodable]
    times = sorted(pair for batch in batches for pair in batch.block_times.items())
    return covered, raws, events, bad, times


@given(logs(), st.lists(st.integers(1, 12), max_size=80))
def test_any_cutting_into_pages_gives_the_same_blocks(log: list[bytes], sizes: list[int]) -> None:
    batches = cut(log, sizes)
    assert essence(batches) == essence(cut(log, []))
    for before, after in pairwise(batches):
        assert before.to_height < after.from_height
    for batch in batches:
        assert batch.from_height <= batch.to_height
        assert {event_id >> 14 for event_id in batch.event_ids} <= set(range(batch.from_height, batch.to_height + 1))
        assert len(batch.raws) == len(batch.event_ids) == len(batch.events) + len(batch.undecodable)


@given(logs(), st.lists(st.integers(1, 12), max_size=80))
def test_a_batch_is_rebuilt_from_its_raw_bytes(log: list[bytes], sizes: list[int]) -> None:
    for batch in cut(log, sizes):
        rebuilt = batch_from_raws(1, batch.from_height, batch.to_height, batch.raws, {batch.to_height: 1})
        assert essence([rebuilt])[:4] == essence([batch])[:4]
        assert rebuilt.block_times == {batch.to_height: 1} | batch.block_times


@given(st.lists(st.integers(0, 60), max_size=30, unique=True))
def test_what_is_kept_in_order_is_a_longest_ascending_run(ids: list[int]) -> None:
    log = [raw(failure(0, event_id)) for event_id in ids]
    page = decode_in_order(log)
    kept = [event.id for event in page.events]
    assert kept == sorted(set(kept))
    longest: list[int] = []
    for index, event_id in enumerate(ids):
        longest.append(1 + max((longest[j] for j in range(index) if ids[j] < event_id), default=0))
    assert len(kept) == max(longest, default=0)
    assert len(page.raws) == len(ids)
    assert page.event_ids == sorted(page.event_ids)


@settings(deadline=None)
@given(logs(), st.data())
def test_the_very_same_event_a_second_time_says_nothing_new(log: list[bytes], data: st.DataObject) -> None:
    # Of records without an id nobody can say that they are the same.
    named = [one for one in log if json.loads(one)["id"] != "x"]
    again = [data.draw(st.sampled_from(named)) for _ in range(data.draw(st.integers(1, 3)))] if named else []
    places = [data.draw(st.integers(log.index(one) + 1, len(log))) for one in again]
    mixed = list(log)
    for place, one in sorted(zip(places, again, strict=True), reverse=True):
        mixed.insert(place, one)
    assert decode_in_order(mixed) == decode_in_order(log)


def test_bad_records_fail_alone_and_keep_their_bytes() -> None:
    good = raw(failure(5, 1))
    bad = [
        b'{"id": 81922, "type": NaN}',
        b'{"id": 81923, "type": "x", "mergeMessageBody": 5}',
        b'{"type": "\xed\xa0\x80"}',
    ]
    body = b'{"events": [' + b",".join([good, *bad, raw(failure(5, 9))]) + b'], "nextPageEventId": 3}'
    raws = split_page(body)
    assert raws == [good, *bad, raw(failure(5, 9))]
    ids, events, undecodable = decode_events(raws)
    assert ids == [81921, 81922, 81923, 81923, 81929]
    assert [event.id for event in events] == [81921, 81929]
    assert [(one.event_id, one.near_id, one.raw) for one in undecodable] == [
        (81922, 81922, bad[0]),
        (81923, 81923, bad[1]),
        (None, 81923, bad[2]),
    ]


@pytest.mark.parametrize("told", [0, 2**32 - 1])
def test_a_block_time_that_contradicts_the_others_is_not_believed(told: int) -> None:
    log = [confirmed(height, 1_700_000_000 + height) for height in range(1, 6)]
    log[2]["blockConfirmedBody"]["timestamp"] = told
    times = block_times_of(decode_events([raw(event) for event in log])[1])
    assert times == {height: 1_700_000_000 + height for height in (1, 2, 4, 5)}
