"""How often an ended process is restarted: one that was killed is; one that cannot run is not."""

import time
from collections import defaultdict
from typing import Final

__all__ = ["Restarts"]

MAX_RESTARTS: Final = 3
WITHIN_SECONDS: Final = 600.0


class Restarts:
    """Counts, per name, the restarts of the last ten minutes."""

    def __init__(self) -> None:
        self._times: defaultdict[str, list[float]] = defaultdict(list)

    def may(self, name: str) -> bool:
        """Whether it may be started once more; counts it."""
        now = time.monotonic()
        lately = [at for at in self._times[name] if now - at < WITHIN_SECONDS]
        self._times[name] = [*lately, now]
        return len(lately) < MAX_RESTARTS
