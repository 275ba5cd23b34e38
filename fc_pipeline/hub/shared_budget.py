"""A hub's request budget, shared by all processes through Redis."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fc_pipeline.hub.budget import MAX_RETRY_AFTER_SECONDS, RequestBudget
from fc_pipeline.hub.endpoint import HubEndpoint

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["SharedBudget", "budget_of"]

log = logging.getLogger(__name__)

REDIS_COOL_DOWN_SECONDS: Final = 30.0
"""How long a process uses a budget of its own after Redis failed, before it tries again."""
REDIS_TIMEOUT_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 3600

# As RequestBudget books: one slot per request, bursts of a second's worth. Times are unix seconds of the Redis server.
# ARGV: seconds per request, seconds of burst, slots to book, seconds to pause, seconds to keep an idle hub's state.
# Gives seconds to wait, and seconds that a pause still lasts.
_BOOK: Final = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[1], 'booked_until', 'paused_until')
local slots, pause = tonumber(ARGV[3]), tonumber(ARGV[4])
local booked = math.max(tonumber(known[1] or '0'), now)
local paused = tonumber(known[2] or '0')
if pause > 0 then
  paused = math.max(paused, now + pause)
  booked = math.max(booked, paused)
end
local due = 0
if slots > 0 then
  booked = booked + slots * interval
  due = booked - interval - burst
end
redis.call('HSET', KEYS[1], 'booked_until', string.format('%.6f', booked),
           'paused_until', string.format('%.6f', paused))
redis.call('EXPIRE', KEYS[1], math.ceil(math.max(booked, paused) - now) + tonumber(ARGV[5]))
return {string.format('%.6f', math.max(due, paused) - now), string.format('%.6f', math.max(0, paused - now))}
"""


@dataclass
class _Outage:
    """Whether a Redis is down, shared by all budgets of this process: each tick of a sensor has its own budget."""

    until: float = float("-inf")
    is_reported: bool = False


_outages: Final[dict[str, _Outage]] = {}


class SharedBudget(RequestBudget):
    """As RequestBudget, over all processes that name the same Redis and hub. For one event loop.

    A pause that another process was asked for holds here too. Where Redis cannot be reached, the process keeps to a
    budget of its own; it says so once, and once more when Redis is back.
    """

    def __init__(
        self,
        requests_per_second: float,
        redis_url: str,
        hub: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(requests_per_second, clock=clock, sleep=sleep)
        self._redis_url = redis_url
        self._named_hub = "/".join(hub.split("/")[:3])  # a path may hold a key
        self._key = f"fc_pipeline:budget:{hashlib.sha256(hub.encode()).hexdigest()[:16]}"
        self._redis: Redis | None = None
        self._outage = _outages.setdefault(redis_url, _Outage())
        self._unreported_pause_until = float("-inf")

    async def acquire(self) -> None:
        """Wait until a request may be sent, and count it; not for a pause that is longer than may be obeyed."""
        wait_seconds = await self._book(slots=1)
        while wait_seconds is not None and wait_seconds > 0 and self.paused_seconds <= MAX_RETRY_AFTER_SECONDS:
            await self._sleep(wait_seconds)
            wait_seconds = await self._book(slots=0)
        if wait_seconds is None:
            await super().acquire()

    def pause(self, seconds: float) -> None:
        """Let nothing through for `seconds` from now; the other processes see it with the next request."""
        super().pause(seconds)
        self._unreported_pause_until = max(self._unreported_pause_until, self._clock() + seconds)

    async def close(self) -> None:
        """Close the connection to Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _book(self, slots: int) -> float | None:
        """Book slots, and publish a pause; returns seconds to wait, or None if Redis does not answer."""
        now = self._clock()
        if now < self._outage.until:
            return None
        from redis.exceptions import RedisError  # takes a tenth of a second, which unlimited hubs save

        unreported_pause = max(0.0, self._unreported_pause_until - now)
        try:
            wait_text, paused_text = await self._client().eval(
                _BOOK, 1, self._key, self._interval, self._burst_seconds, slots, unreported_pause, KEPT_SECONDS
            )
        except (RedisError, OSError) as error:
            self._outage.until = now + REDIS_COOL_DOWN_SECONDS
            if not self._outage.is_reported:
                self._outage.is_reported = True
                log.warning(
                    "budget_not_shared hub=%s reason=%r: until Redis is back, other processes may ask it as well",
                    self._named_hub,
                    type(error).__name__,
                )
            return None
        if self._outage.is_reported:
            self._outage.is_reported = False
            log.warning("budget_shared_again hub=%s: Redis is back", self._named_hub)
        self._unreported_pause_until = float("-inf")
        self._paused_until = max(self._paused_until, now + float(paused_text))
        return float(wait_text)

    def _client(self) -> Any:
        """The client, whose answers its stubs do not know."""
        if self._redis is None:
            from redis.asyncio import Redis

            self._redis = Redis.from_url(
                self._redis_url,
                decode_responses=True,
                socket_timeout=REDIS_TIMEOUT_SECONDS,
                socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            )
        return self._redis


def budget_of(
    endpoint: HubEndpoint,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> RequestBudget:
    """An endpoint's budget: shared where it is limited and there is a Redis to share it through."""
    rate = endpoint.requests_per_second
    if rate is None or endpoint.budget_redis_url is None:
        return RequestBudget(rate, clock=clock, sleep=sleep)
    return SharedBudget(rate, endpoint.budget_redis_url, endpoint.base_url, clock=clock, sleep=sleep)
