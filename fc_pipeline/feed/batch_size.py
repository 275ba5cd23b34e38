"""How many events a micro-batch gathers: more when a run is far behind, within a bound on memory."""

from dataclasses import dataclass
from typing import Final

from fc_pipeline.hub.event_batch import EventBatch

__all__ = ["MAX_BATCH_BYTES", "Pace", "events_per_batch"]

MAX_BATCH_BYTES: Final = 12_000_000
"""JSON of one micro-batch; decoded, as Arrow and on its way to Postgres it takes several times that."""
BATCHES_PER_BACKLOG: Final = 10
"""The minimum number of commits for a backlog, so that progress is visible and a crash loses little."""


def events_per_batch(
    backlog_events: int, *, usual_events: int, event_bytes: float, max_bytes: int = MAX_BATCH_BYTES
) -> int:
    """The number of events after which to commit.

    Args:
        backlog_events: about how many events of the shard are still to be read.
        usual_events: FC_BATCH_EVENTS, the size for a small backlog.
        event_bytes: mean size of an event's JSON, as read so far; 0 while nothing was read.
        max_bytes: bound on the JSON of one micro-batch; it holds for `usual_events` too.

    Returns:
        At least 1; a larger backlog never gives fewer.
    """
    wanted = max(usual_events, backlog_events // BATCHES_PER_BACKLOG)
    if event_bytes <= 0:
        return max(1, usual_events)
    return max(1, min(wanted, int(max_bytes / event_bytes)))


@dataclass(slots=True)
class Pace:
    """How dense a shard's feed is and how large its events are, as read so far."""

    _heights: int = 0
    _events: int = 0
    _bytes: int = 0

    def count(self, batch: EventBatch) -> None:
        """Take blocks into account."""
        self._heights += batch.to_height - batch.from_height + 1
        self._events += len(batch.raws)
        self._bytes += batch.size_bytes

    def expected_events(self, heights: int) -> int:
        """About how many events so many heights hold."""
        return heights * self._events // self._heights if self._heights else 0

    @property
    def event_bytes(self) -> float:
        """Mean size of an event's JSON; 0 while nothing was read."""
        return self._bytes / self._events if self._events else 0.0
