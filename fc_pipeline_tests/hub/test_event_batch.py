"""Cutting never loses, doubles or moves an event, whatever is wrong with some of them."""

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.event_batch import EventBatch, Undecodable, block_times_of
from fc_pipeline.hub.wire import height_of
from fc_pipeline_tests.support.events import cast_add, merge, raw

FIRST_HEIGHT = 500
START_UNIX = 1_793_491_200


@dataclass(frozen=True)
class Block:
    """What stands in one made-up block, and how long after the one before it came; no events: it is left out."""

    seconds: int
    events: tuple[str, ...]


def event(kind: str, height: int, sequence: int) -> bytes:
    if kind == "good":
        return raw(merge(cast_add(7, f"{height}/{sequence}")), height, sequence)
    if kind == "bad":
        return b'{"type":7,"id":%d}' % (height << 14 | sequence)
    return b'{"neither":"id","nor":"type"}'  # nameless


def batch_of(blocks: list[Block]) -> EventBatch:
    """The blocks as the feed hands them on: heights without events have no time."""
    raws: list[bytes] = []
    times: dict[int, int] = {}
    unsendable: list[Undecodable] = []
    at = START_UNIX
    for height, block in enumerate(blocks, FIRST_HEIGHT):
        at += block.seconds
        if block.events:
            times[height] = at
        for sequence, kind in enumerate(block.events):
            event_id = height << 14 | sequence
            if kind == "unsendable":
                unsendable.append(Undecodable(event_id, "the hub cannot send it", b"", event_id))
            else:
                raws.append(event(kind, height, sequence))
    ids, events, undecodable = decode_events(raws, previous_id=FIRST_HEIGHT << 14)
    undecodable = sorted([*undecodable, *unsendable], key=lambda bad: bad.near_id)
    last = FIRST_HEIGHT + len(blocks) - 1
    return EventBatch(1, FIRST_HEIGHT, last, raws, ids, events, undecodable, times | block_times_of(events))


# A block opens with an event that has an id, so that the nameless ones after it are known to be its own.
contents = st.lists(st.sampled_from(["good", "good", "bad", "nameless", "unsendable"]), max_size=4).map(
    lambda kinds: ("good", *kinds)
)
blocks = st.builds(Block, st.sampled_from([0, 1, 1, 1, 600, 3599, 3600, 40_000_000]), st.just(()) | contents)
batches = st.lists(blocks, min_size=1, max_size=12).map(batch_of).filter(lambda batch: bool(batch.block_times))


def put_together(pieces: list[EventBatch]) -> EventBatch:
    """Pieces that follow on each other as one."""
    whole = replace(pieces[0], raws=[], event_ids=[], events=[], undecodable=[], block_times={})
    for piece in pieces:
        assert piece.from_height == (whole.from_height if piece is pieces[0] else whole.to_height + 1)
        whole.raws += piece.raws
        whole.event_ids += piece.event_ids
        whole.events += piece.events
        whole.undecodable += piece.undecodable
        whole.block_times.update(piece.block_times)
        whole.to_height = piece.to_height
    return whole


def heights_of(batch: EventBatch) -> set[int]:
    near = {height_of(bad.near_id) for bad in batch.undecodable}
    return {height_of(event_id) for event_id in batch.event_ids} | {e.height for e in batch.events} | near


@given(batches)
def test_the_pieces_of_a_split_joined_again_are_the_whole(batch: EventBatch) -> None:
    assert put_together([piece for _, piece in batch.by_hour()]) == batch


@given(batches)
def test_each_piece_lies_in_its_hour_with_all_that_belongs_to_its_blocks(batch: EventBatch) -> None:
    hours: list[Hour] = []
    for hour, piece in batch.by_hour():
        hours.append(hour)
        assert all(hour.contains(unix) for unix in piece.block_times.values())
        assert piece.block_times
        assert heights_of(piece) <= set(range(piece.from_height, piece.to_height + 1))
        assert len(piece.raws) == len(piece.event_ids) == len(piece.events) + sum(1 for b in piece.undecodable if b.raw)
    assert hours == sorted(set(hours))


@given(batches, st.data())
def test_within_is_the_chosen_blocks_and_nothing_else(batch: EventBatch, data: st.DataObject) -> None:
    first = data.draw(st.integers(batch.from_height, batch.to_height))
    last = data.draw(st.integers(first, batch.to_height))
    part = batch.within(first, last)
    chosen = range(first, last + 1)
    assert (part.from_height, part.to_height) == (first, last)
    pairs = zip(batch.event_ids, batch.raws, strict=True)
    assert list(zip(part.event_ids, part.raws, strict=True)) == [(i, r) for i, r in pairs if height_of(i) in chosen]
    assert part.events == [e for e in batch.events if e.height in chosen]
    assert part.undecodable == [bad for bad in batch.undecodable if height_of(bad.near_id) in chosen]
    assert part.block_times == {h: at for h, at in batch.block_times.items() if h in chosen}


@given(batches, st.data())
def test_any_cut_joined_again_is_the_whole(batch: EventBatch, data: st.DataObject) -> None:
    if batch.to_height > batch.from_height:
        at = data.draw(st.integers(batch.from_height, batch.to_height - 1))
        below, above = batch.within(batch.from_height, at), batch.within(at + 1, batch.to_height)
        assert put_together([below, above]) == batch
