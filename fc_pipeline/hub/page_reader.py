"""Pages of one shard's feed from one hub: checked, in order, and past events that the hub cannot send.

An event that the hub's JSON mapper fails on fails every request whose page has it (hub-api T3). The reader requests
smaller and smaller pages, finds the one id with `stop_id`, and steps over it with a record of what it left out. It does
the same for an event whose invalid JSON keeps its page from being split: then the record has its bytes.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from fc_pipeline.errors import HubError, HubUnavailable, HubUntrusted
from fc_pipeline.hub.broken_page import only_record
from fc_pipeline.hub.client import HubBodyTooLarge, HubDisconnected, HubMalformed
from fc_pipeline.hub.decode import decode_events, decode_in_order
from fc_pipeline.hub.event_batch import DecodedEvents, Undecodable, ends_as_announced
from fc_pipeline.hub.reads import ReadEndpoints
from fc_pipeline.hub.wire import first_event_id, height_of

__all__ = ["END_OF_IDS", "PLAUSIBLE_JUMP_HEIGHTS", "FeedPage", "PageReader", "stop_ignored"]

log = logging.getLogger(__name__)

PLAUSIBLE_JUMP_HEIGHTS: Final = 10_000
"""A jump in heights beyond this is checked against the head that the hub reports: an absurd id is no cursor."""

PROBE_RETRIES: Final = 1
MAX_PAGE_FACTOR: Final = 64
END_OF_IDS: Final = 2**63
MIN_FOREIGN_SHARE: Final = 0.5
"""Where so many of a page's events, or two side by side, say that they belong elsewhere, it is the hub that answers
something else."""
_UNSENDABLE: Final = (HubDisconnected, HubBodyTooLarge, HubMalformed)
"""The errors of a hub that cannot send an event of a page, or not so that the page could be split."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events in order, the id to resume from, and whether the hub has no more for now."""

    events: DecodedEvents
    next_event_id: int
    at_tip: bool


class PageReader:
    """Reads pages of `shard` from `hub` (one, or a pool of them); keeps what it learns of it from page to page."""

    def __init__(self, hub: ReadEndpoints, shard: int) -> None:
        self._hub = hub
        self._shard = shard
        self._size = 0
        # The longest page this hub has sent: a page of just this length may have been cut by a limit of the hub's that
        # is below the size asked for.
        self._longest_page = 0
        self._nameless_end: list[bytes] = []
        self._nameless_until = -1

    async def read(self, from_event_id: int, stop_id: int | None, page_size: int, previous_id: int) -> FeedPage:
        """The events from `from_event_id` on, below `stop_id`; `previous_id` is the id of the last event before.

        Raises HubUnavailable where the hub cannot be read at all, HubUntrusted where it sends what was not asked for.
        """
        self._size = min(self._size or page_size, page_size)
        widest = page_size
        while True:
            self._size = max(self._size, 1)
            try:
                raws = await self._events(from_event_id, stop_id, self._size, probe=self._size < page_size)
            except _UNSENDABLE as error:
                await self._check_alive(from_event_id)
                if self._size == 1:
                    return await self._step_over(from_event_id, stop_id, error)
                self._size = max(1, self._size // 4)
                continue
            page = await self._checked(raws, from_event_id, previous_id, stop_id)
            full = len(raws) >= self._size
            if page.last_id is None and full:
                # No id to resume from: look further ahead for one.
                widest = self._widen(widest, page_size, raws)
                continue
            at_tip = not full and (page.last_id is None or (len(raws) < self._longest_page and _ends_with_block(page)))
            self._longest_page = max(self._longest_page, len(raws))
            self._size = min(page_size, self._size * 2)
            next_id = from_event_id if page.last_id is None else page.last_id + 1
            # A hub that knows by itself where an event without a usable id stands sends it again with the next page.
            again = self._nameless_end if from_event_id == self._nameless_until else []
            self._nameless_end, self._nameless_until = page.nameless_end(), next_id
            return FeedPage(page.without_beginning(again), next_id, at_tip)

    async def oldest_height(self) -> int | None:
        """The height of the oldest event that the hub retains; None without events."""
        heights = (await self.first_event(first_event_id(1))).heights()
        return heights[0] if heights else None

    async def first_event(self, from_event_id: int) -> DecodedEvents:
        """The first event from this id on that has an id, or none."""
        # A reader of its own: page sizes learned here mean nothing for the feed.
        reader = PageReader(self._hub, self._shard)
        return (await reader.read(from_event_id, None, 1, from_event_id)).events

    async def ends_block(self, event_id: int, *, is_as_announced: bool) -> bool:
        """Whether the hub has this event, and none of the same block behind it.

        The block of a record without an id is unknown: then the block's announcement must show that it is complete.
        """
        try:
            ids, _, undecodable = decode_events(await self._events(event_id, None, 2))
        except (HubDisconnected, HubBodyTooLarge):
            return True  # there is an event that the hub cannot send: it was stepped over before
        is_nameless = len(ids) > 1 and bool(undecodable) and undecodable[-1].event_id is None
        following = [] if is_nameless and is_as_announced else ids[1:]
        return ids[:1] == [event_id] and all(height_of(later) > height_of(event_id) for later in following)

    async def _events(self, from_event_id: int, stop_id: int | None, size: int, *, probe: bool = False) -> list[bytes]:
        retries = PROBE_RETRIES if probe else None
        return await self._hub.events(self._shard, from_event_id, stop_id, size, retries=retries)

    async def _check_alive(self, event_id: int) -> None:
        """Raise HubUnavailable unless the hub answers the same question about no event at all."""
        await self._events(event_id, event_id, 1, probe=True)

    def _widen(self, widest: int, page_size: int, raws: list[bytes]) -> int:
        if widest >= page_size * MAX_PAGE_FACTOR:
            raise HubUntrusted(
                f"hub {self._hub.name} sends {len(raws)} events of shard {self._shard} without one usable id",
                hint="the hub is broken; name another one in FC_HUB_URLS",
            )
        self._size = widest * 4
        return self._size

    async def _checked(
        self, raws: list[bytes], from_event_id: int, previous_id: int, stop_id: int | None = None
    ) -> DecodedEvents:
        """The decoded page, with misplaced events as Undecodable. Raises HubUntrusted if these are more than a few."""
        page = decode_in_order(raws, floor=from_event_id, previous_id=previous_id, shard=self._shard)
        plausible = first_event_id(height_of(from_event_id) + PLAUSIBLE_JUMP_HEIGHTS)
        if page.last_id is not None and page.last_id >= plausible:
            ceiling = max(plausible, await self.ceiling())
            if page.last_id >= ceiling:
                page = decode_in_order(
                    raws, floor=from_event_id, ceiling=ceiling, previous_id=previous_id, shard=self._shard
                )
        if stop_id is not None and page.last_id is not None and page.last_id >= stop_id:
            if len({event_id for event_id in page.event_ids if event_id >= stop_id}) > 1:
                raise stop_ignored(self._hub.name, self._shard, stop_id)
            page = decode_in_order(
                raws, floor=from_event_id, ceiling=stop_id, previous_id=previous_id, shard=self._shard
            )
            if page.last_id is None:
                raise stop_ignored(self._hub.name, self._shard, stop_id)
        if page.undecodable:
            self._refuse_another_page(page, from_event_id)
        return page

    def _refuse_another_page(self, page: DecodedEvents, from_event_id: int) -> None:
        """Raise HubUntrusted if the hub ignored where to begin or which shard was asked for (hub-api T1).

        Then that is so of many events of the page, or of several side by side; single ones are broken themselves.
        """
        below: list[int] = []
        of_others: dict[int, int] = {}
        for place, raw in _misplaced_raws(page):
            _, events, undecodable = decode_events([raw])
            own_id = events[0].id if events else undecodable[0].event_id
            if own_id is not None and own_id < from_event_id:
                below.append(place)
            if events and events[0].shardIndex not in (self._shard, 0):
                of_others[place] = events[0].shardIndex
        if _is_of_the_hub(below, page):
            raise HubUntrusted(
                f"hub {self._hub.name} answered events below id {from_event_id} of shard {self._shard}, "
                "which was the lowest asked for",
                hint="is it a Snapchain hub's HTTP API?",
            )
        # Without a shard, a hub sends a page of each shard (hub-api 3.1).
        is_page_per_shard = bool(of_others) and len(page.raws) - len(of_others) <= self._size < len(page.raws)
        if is_page_per_shard or _is_of_the_hub(list(of_others), page):
            raise HubUntrusted(
                f"hub {self._hub.name} answered events of shards {sorted(set(of_others.values()))} "
                f"when asked for shard {self._shard}",
                hint="is it a Snapchain hub's HTTP API?",
            )

    async def ceiling(self) -> int:
        """Ids from here on are absurd: far above the head that the hub reports."""
        heads = [shard.maxHeight for shard in (await self._hub.info()).shardInfos if shard.shardId == self._shard]
        return first_event_id(heads[0] + PLAUSIBLE_JUMP_HEIGHTS) if heads and heads[0] else END_OF_IDS

    async def _step_over(self, from_event_id: int, stop_id: int | None, error: HubError) -> FeedPage:
        """The page of the one event that the hub cannot send: as an Undecodable without raw bytes.

        The hub's `eventById` is asked first. Raises HubUnavailable if there is no such single event after all.
        """
        event_id = await self._first_unsendable(from_event_id, stop_id)
        if event_id is not None:
            try:
                raws = await self._events(event_id, event_id + 1, 1)
            except _UNSENDABLE as confirmed:
                await self._check_alive(event_id)
                return await self._unsendable(event_id, confirmed)
            if raws:
                return FeedPage(await self._checked(raws, event_id, event_id), event_id + 1, at_tip=False)
        raise HubUnavailable(f"hub {self._hub.name} fails on and off: {error}")

    async def _unsendable(self, event_id: int, error: HubError) -> FeedPage:
        try:
            raw = await self._hub.event_by_id(self._shard, event_id)
        except HubError:
            raw = None  # that request fails on this event as well
        if raw is not None:
            return FeedPage(await self._checked([raw], event_id, event_id), event_id + 1, at_tip=False)
        log.warning("event_stepped_over hub=%s shard=%d event_id=%d", self._hub.name, self._shard, event_id)
        sent = only_record(error.body) if isinstance(error, HubMalformed) else b""
        if sent:
            record = Undecodable(event_id, f"not the JSON expected: {error}", sent, event_id)
            return FeedPage(DecodedEvents([sent], [event_id], [], [record]), event_id + 1, at_tip=False)
        record = Undecodable(event_id, f"the hub cannot send this event: {error}", b"", event_id)
        return FeedPage(DecodedEvents(undecodable=[record]), event_id + 1, at_tip=False)

    async def _first_unsendable(self, from_event_id: int, stop_id: int | None) -> int | None:
        """The id of the first event from `from_event_id` on if the hub cannot send it; None if it can after all."""
        end = stop_id if stop_id is not None else END_OF_IDS
        without = from_event_id  # there is no event below this id
        step = 1
        while (outcome := await self._probe(from_event_id, min(without + step, end))) == "empty":
            without = min(without + step, end)
            if without == end:
                return None
            step *= 2
        if outcome == "sent":
            return None
        beyond = min(without + step, end)  # the hub cannot send an event below this id
        while beyond - without > 1:
            middle = (without + beyond) // 2
            outcome = await self._probe(from_event_id, middle)
            if outcome == "sent":
                return None
            if outcome == "empty":
                without = middle
            else:
                beyond = middle
        return without

    async def _probe(self, from_event_id: int, stop_id: int) -> Literal["empty", "sent", "dead"]:
        try:
            raws = await self._events(from_event_id, stop_id, 1, probe=True)
        except _UNSENDABLE:
            return "dead"
        return "sent" if raws else "empty"


def stop_ignored(hub_name: str, shard: int, stop_id: int) -> HubUntrusted:
    """The error for a hub that ignores `stop_id`."""
    return HubUntrusted(
        f"hub {hub_name} answered events of shard {shard} from id {stop_id} on, which was where to stop",
        hint="is it a Snapchain hub's HTTP API?",
    )


def _misplaced_raws(page: DecodedEvents) -> Iterator[tuple[int, bytes]]:
    """Where on the page the events without a usable id stand, and their bytes."""
    aside = [bad.raw for bad in page.undecodable if bad.event_id is None]
    at = 0
    for place, raw in enumerate(page.raws):
        if at < len(aside) and raw is aside[at]:
            at += 1
            yield place, raw


def _is_of_the_hub(places: Sequence[int], page: DecodedEvents) -> bool:
    """Whether so many misplaced events, at these places of a page, are the hub's fault, not single broken ones."""
    if not places:
        return False
    is_side_by_side = any(after - before == 1 for before, after in pairwise(places))
    return page.last_id is None or is_side_by_side or len(places) >= max(2, MIN_FOREIGN_SHARE * len(page.raws))


def _ends_with_block(page: DecodedEvents) -> bool:
    """Whether all is there that the BLOCK_CONFIRMED of the page's last block announces.

    A page that is shorter than asked for need not end at the tip: what stands before a hub may cut it at some length of
    its own, in the middle of a block. If the announcement is not on the page, an empty next page shows it; so, too,
    where a record is broken, which may be two in one.
    """
    return not page.undecodable and ends_as_announced(page.events, page.event_ids)
