"""A sensor's attempts at unfinished work: how many, when last, and whether to request it again."""

from dataclasses import dataclass

FIRST_RETRY_SECONDS = 15.0
MAX_RETRY_SECONDS = 600.0


@dataclass(frozen=True)
class Attempt:
    """How often an hour was requested without becoming complete, and when last (unix seconds)."""

    count: int
    last_unix: float

    def is_due(self, now: float) -> bool:
        """Whether to request it again, with exponential backoff: a hole that a run could not fill stays for a while."""
        wait = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self.count - 1, 20))
        return now - self.last_unix >= wait
