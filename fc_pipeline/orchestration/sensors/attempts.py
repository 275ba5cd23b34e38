"""How often, and when last, a sensor asked for work that is not done yet: whether to ask again."""

from dataclasses import dataclass

DEAD_AFTER_SECONDS = 120.0  # longer than any wait for a lease
FIRST_RETRY_SECONDS = 15.0
MAX_RETRY_SECONDS = 600.0


@dataclass(frozen=True)
class Attempt:
    """How often an hour was asked for without becoming complete, and when last (unix seconds)."""

    count: int
    last_unix: float

    def is_due(self, now: float) -> bool:
        """Whether to ask again: later and later, for a hole that a run could not fill will not fill at once."""
        wait = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self.count - 1, 20))
        return now - self.last_unix >= wait
