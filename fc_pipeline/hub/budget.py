"""How often a hub may be asked: a steady budget of requests, and pauses that the hub requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["MAX_RETRY_AFTER_SECONDS", "RequestBudget"]

MAX_RETRY_AFTER_SECONDS: Final = 60.0
"""The longest Retry-After that is waited for; a longer one fails the request."""


class RequestBudget:
    """Lets `requests_per_second` requests through, with bursts of up to one second's worth; None means no limit.

    `clock` gives monotonic seconds and `sleep` waits for seconds; both are injected by tests. Safe for many tasks of
    one event loop: requests pass in the order in which they asked.
    """

    def __init__(
        self,
        requests_per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._interval = 0.0 if requests_per_second is None else 1.0 / requests_per_second
        self._burst_seconds = 0.0 if requests_per_second is None else max(0.0, 1.0 - self._interval)
        self._clock = clock
        self._sleep = sleep
        self._booked_until = clock()
        self._paused_until = clock()

    async def acquire(self) -> None:
        """Wait until a request may be sent, and count it."""
        now = self._clock()
        # Each request books the next slot; a hub left alone for a second has one second's worth of slots in hand.
        self._booked_until = max(self._booked_until, now) + self._interval
        due = self._booked_until - self._interval - self._burst_seconds
        while (wait_seconds := max(due, self._paused_until) - self._clock()) > 0:
            await self._sleep(wait_seconds)

    def pause(self, seconds: float) -> None:
        """Let nothing through for `seconds` from now (Retry-After); a longer pause in force stays."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)
        if self._interval:
            self._booked_until = max(self._booked_until, self._paused_until)

    async def close(self) -> None:
        """Nothing is held here."""

    @property
    def paused_seconds(self) -> float:
        """How long the pause still lasts."""
        return max(0.0, self._paused_until - self._clock())
