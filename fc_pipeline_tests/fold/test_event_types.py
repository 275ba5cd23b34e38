"""Events by type: all of them, under few names, counted once per height by the transaction that covers it."""

from fc_pipeline.fold.event_types import events_by_type
from fc_pipeline.fold.micro_batch import joined
from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.support.events import (
    NOW,
    blocks_of,
    cast_add,
    chain_event,
    event_batch,
    failure,
    link,
    merge,
    merge_chain,
    message,
    micro_batch,
    prune,
    reaction,
)
from fc_pipeline_tests.support.folded import FoldedDatabase

EVENTS = [
    merge(link(1, 2)),
    merge(link(1, 3)),
    merge(link(1, 2, add=False)),
    merge(reaction(1, "https://b.example"), reaction(1, "https://a.example")),  # what it displaces is no event
    merge_chain(chain_event("signer", 1)),
    prune(cast_add(1, "old")),
    failure(cast_add(1, "refused")),
    merge(message("OF_TOMORROW", 1, NOW, {})),
    {"type": "HUB_EVENT_TYPE_OF_TOMORROW"},
    merge(cast_add(-1, "undecodable")),
    b'{"no":"id"}',
]
COUNTS = {
    "BLOCK_CONFIRMED": 1,
    "LINK_ADD": 2,
    "LINK_REMOVE": 1,
    "REACTION_ADD": 1,
    "MERGE_ON_CHAIN_EVENT": 1,
    "PRUNE_MESSAGE": 1,
    "MERGE_FAILURE": 1,
    "unknown": 2,
    "undecodable": 2,
}


def test_each_event_has_one_type() -> None:
    batch = event_batch(blocks_of(EVENTS))
    assert events_by_type(batch) == COUNTS
    assert events_by_type(batch).total() == len(batch.raws)


def test_the_ledger_and_the_types_count_the_same_events_once(replica: FoldedDatabase) -> None:
    blocks = blocks_of(EVENTS, [merge(link(2, 3))], [merge(link(2, 4))])
    first, second, third = (micro_batch(blocks, height, height) for height in sorted(blocks))
    with FoldSession(replica.url, "test") as session:
        session.fold(joined([first, second]))
        session.fold(third)
        session.refold(third)
    counted = replica.rows("SELECT event_type, events FROM pipeline.hour_events")
    assert dict(map(tuple, counted)) == {**COUNTS, "BLOCK_CONFIRMED": 3, "LINK_ADD": 4}
    ((events,),) = replica.rows("SELECT sum(events) FROM pipeline.coverage")
    assert events == sum(count for _, count in counted)
