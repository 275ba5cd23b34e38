"""How many events of each type a batch has, whatever becomes of them."""

from collections import Counter
from typing import Final

from fc_pipeline.fold.changes import OTHER_MESSAGES, WITHOUT_ROWS
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.tables.registry import MESSAGE_SETS

__all__ = ["UNDECODABLE", "UNKNOWN", "events_by_type"]

UNKNOWN: Final = "unknown"
"""Of all types together that this release does not know: a hub may send any number of names."""
UNDECODABLE: Final = "undecodable"

_MERGE: Final = "HUB_EVENT_TYPE_MERGE_MESSAGE"
_MESSAGES: Final = {kind for one in MESSAGE_SETS for kind in (one.add_type, one.remove_type) if kind} | OTHER_MESSAGES
_EVENTS: Final = WITHOUT_ROWS | {
    "HUB_EVENT_TYPE_MERGE_ON_CHAIN_EVENT",
    "HUB_EVENT_TYPE_MERGE_USERNAME_PROOF",
    "HUB_EVENT_TYPE_PRUNE_MESSAGE",
    "HUB_EVENT_TYPE_REVOKE_MESSAGE",
}
_NAMES: Final = {kind: kind.removeprefix("MESSAGE_TYPE_") for kind in _MESSAGES} | {
    kind: kind.removeprefix("HUB_EVENT_TYPE_") for kind in _EVENTS
}


def events_by_type(batch: EventBatch) -> Counter[str]:
    """Events per type; together they are all events that were read.

    A merged message counts under its own type (`LINK_ADD`), every other event under the event's (`PRUNE_MESSAGE`).
    """
    kinds = Counter(
        event.mergeMessageBody.message.data.type
        if event.mergeMessageBody is not None and event.type == _MERGE
        else event.type
        for event in batch.events
    )
    counts: Counter[str] = Counter()
    for kind, events in kinds.items():
        counts[_NAMES.get(kind, UNKNOWN)] += events
    counts[UNDECODABLE] += len(batch.raws) - len(batch.events)
    return +counts
