"""The sessions in which a run folds: one, and a second as soon as there is much to fold.

Then the shards are folded beside each other, half of them in each lane; a shard's micro-batches stay in one.
"""

from types import TracebackType
from typing import Final, Self

from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.fold.session import FoldSession

__all__ = ["LANES", "FoldLanes"]

LANES: Final = 2
"""How many micro-batches a run folds at the same time, of different shards."""
MANY_EVENTS = 2_000
"""From here on a micro-batch is worth a session of its own; those of a live feed are smaller."""


class FoldLanes:
    """A run's sessions. `first` is always open, and the run's leases live as long as it does.

    With `targets` there is no second: what concerns the target set is decided in the session that the set follows.
    """

    def __init__(self, libpq_url: str, run_id: str, holder: str, targets: TargetAccess | None) -> None:
        self.first, self._second = (FoldSession(libpq_url, run_id, holder, targets) for _ in range(LANES))
        self._may_have_second = targets is None
        self._second_is_open = False

    def __enter__(self) -> Self:
        self.first.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_second()
        self.first.__exit__(kind, error, trace)

    def lane_of(self, micro: MicroBatch) -> int:
        """In which lane a micro-batch is folded."""
        is_second = self._may_have_second and micro.shard % LANES == 0
        return int(is_second and (self._second_is_open or micro.events >= MANY_EVENTS))

    def session(self, lane: int) -> FoldSession:
        """The session of a lane, for the one thread that folds in it."""
        if not lane:
            return self.first
        if not self._second_is_open:
            self._second.__enter__()
            self._second_is_open = True
        return self._second

    def reopen(self) -> None:
        """Continue in new sessions after an old one was lost; nothing is folded meanwhile."""
        self._close_second()
        self.first.reopen()

    def abandon(self) -> list[int]:
        """Try nothing again from now on; the backends to cancel. May be called from another thread."""
        for session in (self.first, self._second):  # the second may be about to be opened
            session.abandon()
        opened = [self.first, self._second] if self._second_is_open else [self.first]
        return [session.backend_pid for session in opened]

    def _close_second(self) -> None:
        if self._second_is_open:
            self._second_is_open = False
            self._second.__exit__(None, None, None)
