"""How many requests this process has sent to each hub, and how many of them were in vain."""

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Final, NamedTuple

__all__ = ["REQUEST_COUNTS", "RequestCounts", "Requests"]


class Requests(NamedTuple):
    """Requests sent, and those without a usable answer: an error of the hub, a time-out, a broken connection."""

    sent: int
    failed: int


class RequestCounts:
    """Counts by hub. For any number of threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sent: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def sent(self, hub: str) -> None:
        """A request goes to this hub."""
        with self._lock:
            self._sent[hub] += 1

    def failed(self, hub: str) -> None:
        """One of them was in vain."""
        with self._lock:
            self._failed[hub] += 1

    def take(self) -> dict[str, Requests]:
        """What was counted since the last time."""
        with self._lock:
            found = {hub: Requests(self._sent[hub], self._failed[hub]) for hub in self._sent | self._failed}
            self._sent.clear()
            self._failed.clear()
        return found

    def put_back(self, counts: Mapping[str, Requests]) -> None:
        """What was taken could not be noted: it is still to be."""
        with self._lock:
            for hub, one in counts.items():
                self._sent[hub] += one.sent
                self._failed[hub] += one.failed


REQUEST_COUNTS: Final = RequestCounts()
"""Those of this process, by the hubs' names."""
