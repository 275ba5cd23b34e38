"""What became of each event: counted once, and by hand here."""

from fc_pipeline.fold.outcomes import EventOutcomes
from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.support.events import (
    NOW,
    blocks_of,
    cast_add,
    compact_state,
    failure,
    link,
    merge,
    message,
    micro_batch,
    prune,
    reaction,
    user_data,
)
from fc_pipeline_tests.support.folded import FoldedDatabase

OLD = reaction(1, "https://a.example", timestamp=NOW - 5)
EVENTS = [
    merge(cast_add(1, "written")),
    merge(cast_add(1, "gone at once")),
    prune(cast_add(1, "gone at once")),
    merge(OLD),
    merge(reaction(1, "https://b.example"), OLD),  # writes two rows of one table
    merge(link(1, 2)),
    merge(compact_state(1, [3]), link(1, 2)),  # of two tables, as Hubble has it
    failure(cast_add(1, "refused")),
    merge(message("FRAME_ACTION", 1, NOW, {})),
    merge(cast_add(1, "NUL\x00")),
    merge(cast_add(-1, "undecodable")),
    merge(user_data(1, "AURA", "unknown")),
    b'{"no":"id"}',
]


def test_every_event_is_counted_once(replica: FoldedDatabase) -> None:
    batch = micro_batch(blocks_of(EVENTS))
    assert batch.events == 14
    assert batch.outcomes == EventOutcomes(without_rows=3, quarantined=3, filtered=0, with_rows=8)
    assert batch.outcomes.events == batch.events
    with FoldSession(replica.url, "test") as session:
        session.fold(batch)
        assert session.events_written == 5  # the others were overtaken by later ones of the batch
        session.refold(batch)
        assert session.events_written == 0


def test_tables_that_are_not_wanted_are_filtered() -> None:
    batch = micro_batch(blocks_of(EVENTS), tables=["casts"])
    assert batch.outcomes == EventOutcomes(without_rows=3, quarantined=3, filtered=4, with_rows=4)
