"""Several hubs as one: the first in order of preference that answers and can be trusted.

A hub is vetted by its `/v1/info` before it is followed, and again every half minute: it must be a Snapchain hub with
the expected shards, not behind what was already folded, and not stale while another one is fresher.

One address may have several nodes that answer in turn. So a reported head is taken as that of the address while it is
recent; if an answer is behind, another node is asked, and a node that catches up is waited for.
"""

import asyncio
import logging
import random as random_module
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

from fc_pipeline.errors import ConfigError, HubBehind, HubError, HubUnavailable, HubUntrusted, OtherHistory
from fc_pipeline.hub.client import HubClient, Timeouts
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.reads import HubReads, ReadEndpoints
from fc_pipeline.hub.vetting import FAILOVER_ERRORS, STALE_AFTER_SECONDS, HistoryCheck, PooledHub, Vetting, head_of

__all__ = ["LAG_WAIT_SECONDS", "HubPool"]

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_LAG_WAIT_SECONDS: Final = 15.0
LAG_WAIT_SECONDS: Final = 1.0
MAX_COOL_DOWN_SECONDS: Final = 600.0


class HubPool(ReadEndpoints):
    """Hubs in order of preference. An async context manager; safe for many tasks of one event loop.

    Offers every read endpoint of the preferred usable hub, and `follow` for reading a feed. A hub that fails cools down
    for `cool_down_seconds`, longer with each further failure, then it is preferred again. One that is slightly behind
    is waited for while it catches up, or for `max_lag_wait_seconds`. `expected_shards` is the number of data shards;
    without it, the first hub that answers sets it. `sleep`, `random`, `clock` and `now` as in HubClient.
    """

    def __init__(
        self,
        endpoints: Sequence[HubEndpoint],
        *,
        expected_shards: int | None = None,
        stale_after_seconds: int = STALE_AFTER_SECONDS,
        cool_down_seconds: float = 60.0,
        max_lag_wait_seconds: float = MAX_LAG_WAIT_SECONDS,
        retries: int = 5,
        timeouts: Timeouts | None = None,
        max_body_bytes: int | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not endpoints:
            raise ConfigError("no hub is given", hint="set FC_HUB_URLS")
        bound = {} if max_body_bytes is None else {"max_body_bytes": max_body_bytes}
        self._hubs = [
            PooledHub(
                HubClient(
                    endpoint,
                    retries=retries,
                    timeouts=timeouts,
                    sleep=sleep,
                    random=random,
                    clock=clock,
                    now=now,
                    **bound,
                )
            )
            for endpoint in endpoints
        ]
        for hub in self._hubs:
            hub.client.has_alternative = partial(self._has_alternative, hub)
        info_retries = None if len(self._hubs) == 1 else 1
        self._vetting = Vetting(self.leave, clock, expected_shards=expected_shards, info_retries=info_retries)
        self._stale_after_seconds = stale_after_seconds
        self._cool_down_seconds = cool_down_seconds
        self.max_lag_wait_seconds = max_lag_wait_seconds
        self._clock = clock
        self._sleep = sleep
        self._followed: dict[int | None, PooledHub] = {}

    async def __aenter__(self) -> Self:
        """Nothing is asked yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for hub in self._hubs:
            await hub.client.close()

    @property
    def name(self) -> str:
        """The hubs' addresses without anything secret."""
        return ", ".join(hub.name for hub in self._hubs)

    async def shards(self) -> list[int]:
        """The data shards, 1…n, of the usable hub."""
        return list(range(1, (await self.info()).numShards + 1))

    async def ask(self, question: Callable[[HubClient], Awaitable[T]]) -> T:
        """The answer of the first usable hub; of the next one if it fails."""
        failed: dict[HubReads, HubError] = {}
        while True:
            hub = await self._untried(failed)
            try:
                return await question(hub.client)
            except FAILOVER_ERRORS as error:
                self.leave(hub, error)
                failed[hub] = error

    async def pages(self, question: Callable[[HubClient], AsyncIterator[list[T]]]) -> AsyncIterator[list[T]]:
        """The pages of a list, from the first usable hub, or from the next one if it fails.

        Page tokens mean nothing to another hub (hub-api T25), so the list is walked from the start there; items that
        were already given are left out.
        """
        failed: dict[HubReads, HubError] = {}
        given: set[T] = set()
        while True:
            hub = await self._untried(failed)
            try:
                async for page in question(hub.client):
                    fresh = [item for item in page if item not in given] if failed else page
                    if len(self._hubs) > 1:
                        given.update(fresh)
                    if fresh:
                        yield fresh
            except FAILOVER_ERRORS as error:
                self.leave(hub, error)
                failed[hub] = error
            else:
                return

    async def follow(self, shard: int | None, cursor_height: int = 0) -> HubReads:
        """The hub to read `shard` from next, given that everything up to `cursor_height` was read.

        May be another one than before: then resume at the block boundary. A stale hub is followed only if no other is
        fresher, one behind the cursor never; if all are behind, but only slightly, they are waited for. Raises
        HubUntrusted or HubUnavailable saying why of each hub.
        """
        chosen, errors = await self._usable(shard, cursor_height)
        waited_seconds, furthest = 0.0, _furthest(errors)
        while chosen is None and furthest is not None and waited_seconds < self.max_lag_wait_seconds:
            await self.wait_for_lag()
            chosen, errors = await self._usable(shard, cursor_height)
            now_at = _furthest(errors)
            waited_seconds = 0.0 if now_at is not None and now_at > furthest else waited_seconds + LAG_WAIT_SECONDS
            furthest = max(furthest, now_at or 0)
        if chosen is None:
            raise _all_of(errors)
        before = self._followed.get(shard)
        if before is not chosen:
            self._followed[shard] = chosen
            if before is not None:
                reason = "; ".join(map(str, errors)) or "preferred"
                log.warning("hub_switched shard=%s from=%s to=%s reason=%r", shard, before.name, chosen.name, reason)
        return chosen

    async def wait_for_lag(self) -> None:
        """Give a hub that is slightly behind `LAG_WAIT_SECONDS` to catch up."""
        await self._sleep(LAG_WAIT_SECONDS)

    def leave(self, hub: HubReads, error: HubError) -> None:
        """Cool down a hub that failed: others are preferred until its cool-down, or its Retry-After, is over."""
        for own in self._hubs:
            if own is hub:
                own.failures = own.failures + 1 if own.failure is not None else 0
                own.failure = error
                longer = min(MAX_COOL_DOWN_SECONDS, self._cool_down_seconds * 2**own.failures)
                pause_seconds = max(longer, hub.client.budget.paused_seconds)
                own.cooling_until = self._clock() + pause_seconds
                own.known_info = None
                log.warning("hub_left hub=%s rest_seconds=%.0f reason=%r", hub.name, pause_seconds, str(error))

    def note_cursors(self, heights: Mapping[int, int]) -> None:
        """Remember up to which height each shard was read: a hub that is behind one of them is not usable."""
        self._vetting.cursors = dict(heights)

    def note_history(self, check: HistoryCheck, shard_count: int | None = None) -> None:
        """Have every hub checked against what was read so far, whenever it is vetted; and its number of data shards."""
        self._vetting.note_history(check, shard_count)
        for hub in self._hubs:
            hub.known_info = None

    async def confirm(self, hub: HubReads) -> None:
        """Vet a hub again by its present state, which its recent answers depend on. Raises HubError."""
        for own in self._hubs:
            if own is hub:
                async with own.asking:  # what is being answered now was asked before
                    own.known_info = None
                await self._waited_for(own)

    async def others(self) -> list[HubReads]:
        """The hubs that could be followed as well as the one that is, in order of preference."""
        chosen = await self.follow(None)
        found: list[HubReads] = []
        for hub in self._hubs:
            if hub is not chosen and hub.cooling_until <= self._clock():
                with suppress(HubError):
                    await self._vetting.vet(hub, None, 0)
                    found.append(hub)
        return found

    def prefer(self, hub: HubReads) -> None:
        """Put a hub before all others, as long as the pool lives."""
        self._hubs.sort(key=lambda own: own is not hub)

    def known_head(self, hub: HubReads, shard: int) -> int:
        """The highest block of a shard that a node of this hub has recently sent or reported; 0 if none has."""
        for own in self._hubs:
            if own is hub:
                shard_infos = own.known_info.shardInfos if own.known_info is not None else ()
                return max((head_of(own, one) for one in shard_infos if one.shardId == shard), default=0)
        return 0

    def note_height(self, hub: HubReads, shard: int, height: int) -> None:
        """Remember that `hub` showed a block of this height, so that it need not be asked for its head."""
        for own in self._hubs:
            if own is hub:
                own.failures, own.failure = 0, None
                own.seen_heights[shard] = max(height, own.seen_heights.get(shard, 0))

    async def _untried(self, failed: dict[HubReads, HubError]) -> HubReads:
        """The usable hub; raises its error if it has already failed this request."""
        try:
            hub = await self.follow(None)
        except HubError:
            if failed:
                raise next(reversed(failed.values())) from None
            raise
        if hub in failed:
            raise failed[hub]
        return hub

    async def _usable(self, shard: int | None, cursor_height: int) -> tuple[PooledHub | None, list[HubError]]:
        """The hub to follow, cooling ones last, and why others are not followed."""
        now = self._clock()
        errors: list[HubError] = []
        # Sorted beforehand, so that one that fails now is not asked again as a cooling one.
        available = [hub for hub in self._hubs if hub.cooling_until <= now]
        cooling_down = [hub for hub in self._hubs if hub.cooling_until > now]
        for hubs in (available, cooling_down):
            if (chosen := await self._first_usable(hubs, shard, cursor_height, errors)) is not None:
                return chosen, errors
        return None, errors

    async def _first_usable(
        self, hubs: Sequence[PooledHub], shard: int | None, cursor_height: int, errors: list[HubError]
    ) -> PooledHub | None:
        """The first hub that is usable and fresh, else the first of those about as stale as the freshest."""
        stale: list[tuple[PooledHub, int]] = []
        for hub in hubs:
            try:
                delay_seconds = await self._vetting.vet(hub, shard, cursor_height)
            except HubError as error:
                errors.append(error)
                continue
            if delay_seconds <= self._stale_after_seconds:
                return hub
            stale.append((hub, delay_seconds))
        freshest = min((delay_seconds for _, delay_seconds in stale), default=0)
        for hub, delay_seconds in stale:
            if delay_seconds - freshest <= self._stale_after_seconds:
                return hub
        return None

    async def _waited_for(self, hub: PooledHub) -> None:
        """Vet one hub; if it is slightly behind, until it has caught up or the wait is over."""
        waited_seconds, furthest = 0.0, 0
        while True:
            try:
                await self._vetting.vet(hub, None, 0)
            except HubBehind as behind:
                waited_seconds = 0.0 if behind.height > furthest else waited_seconds + LAG_WAIT_SECONDS
                furthest = max(furthest, behind.height)
                if waited_seconds > self.max_lag_wait_seconds:
                    raise
                await self.wait_for_lag()
            else:
                return

    def _has_alternative(self, hub: HubReads) -> bool:
        """Whether there is another hub that has not just failed."""
        return any(own is not hub and own.cooling_until <= self._clock() for own in self._hubs)


def _furthest(errors: Sequence[HubError]) -> int | None:
    """The highest height of the hubs that are only slightly behind; None if there are none."""
    return max((error.height for error in errors if isinstance(error, HubBehind)), default=None)


def _all_of(errors: Sequence[HubError]) -> HubError:
    """One error for all hubs; of the only hub its own."""
    if len(errors) == 1:
        return errors[0]
    reasons = "; ".join(error.message for error in errors)
    of_all = (kind for kind in (OtherHistory, HubUntrusted) if all(isinstance(error, kind) for error in errors))
    kind = next(of_all, HubUnavailable)
    return kind(f"no hub can be followed: {reasons}", hint=next((error.hint for error in errors if error.hint), None))
