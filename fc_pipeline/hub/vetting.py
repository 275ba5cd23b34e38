"""Whether a hub can be followed: by its `/v1/info`, by the heights already read, and by the history behind them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from fc_pipeline.errors import HubBehind, HubError, HubUnavailable, HubUntrusted, OtherHistory
from fc_pipeline.hub.client import HubClient, HubKeyRefused
from fc_pipeline.hub.reads import MAX_NODE_LAG_HEIGHTS, HubReads
from fc_pipeline.hub.wire import HubInfo, ShardInfo

__all__ = [
    "ANOTHER_NETWORK",
    "FAILOVER_ERRORS",
    "NODES_ASKED",
    "STALE_AFTER_SECONDS",
    "HistoryCheck",
    "PooledHub",
    "Vetting",
    "head_of",
]

VETTED_SECONDS: Final = 30.0
STALE_AFTER_SECONDS: Final = 120
NODES_ASKED: Final = 4
"""How often a request is repeated at once if a node is behind: with two nodes, one time in sixteen all hit the same."""
FAILOVER_ERRORS: Final = (HubUnavailable, HubUntrusted, HubKeyRefused)
"""Errors of the hub rather than of the request: another hub may succeed."""
ANOTHER_NETWORK: Final = (
    "it is of another network, or was reset or resharded: name a hub of the replica's network in FC_HUB_URLS; another "
    "network wants a database and a lake of its own"
)
"""What to do about OtherHistory."""
HistoryCheck = Callable[[HubReads, HubInfo], Awaitable[None]]
"""Raises HubUntrusted if a hub does not continue the history already read, HubBehind if it may do so later."""


class PooledHub(HubReads):
    """A hub and its state in the pool."""

    def __init__(self, client: HubClient) -> None:
        super().__init__(client)
        self.cooling_until = 0.0
        self.failures = 0
        self.failure: HubError | None = None
        self.seen_heights: dict[int, int] = {}
        self.known_info: HubInfo | None = None
        self.known_at = 0.0
        self.refusal: HubUntrusted | None = None
        self.asking = asyncio.Lock()


class Vetting:
    """The checks of a pool's hubs before they are followed, and what these checks go by.

    `cursors` are the heights up to which each shard was read. `leave` is told of a hub whose `/v1/info` fails, which
    is asked `info_retries` times more. `expected_shards` as in HubPool.
    """

    def __init__(
        self,
        leave: Callable[[HubReads, HubError], None],
        clock: Callable[[], float],
        *,
        expected_shards: int | None,
        info_retries: int | None,
    ) -> None:
        self.cursors: dict[int, int] = {}
        self._leave = leave
        self._clock = clock
        self._expected_shards = expected_shards
        self._info_retries = info_retries
        self._begun_with: int | None = None
        self._check_history: HistoryCheck | None = None

    def note_history(self, check: HistoryCheck, shard_count: int | None) -> None:
        """Check every hub against what was read so far, and its number of data shards."""
        self._check_history = check
        self._begun_with = shard_count

    async def vet(self, hub: PooledHub, shard: int | None, cursor_height: int) -> int:
        """The age of the hub's newest block in seconds. Raises HubError saying why it cannot be followed."""
        cursors = self.cursors if shard is None else {**self.cursors, shard: cursor_height}
        info: HubInfo | None = None
        asked = 0
        while True:
            asked += 1
            info = await self._info_of(hub, newer_than=info)
            found = self._shards_needed(hub, info, shard)
            trouble = self._behind(hub, found, cursors) if hub.refusal is None else hub.refusal
            if trouble is None:
                return max((one.blockDelay for one in found), default=0)
            is_behind = trouble is not hub.refusal or isinstance(trouble, HubBehind)
            if not is_behind or asked == NODES_ASKED:
                raise trouble
            hub.client.ask_another_node()

    def _behind(self, hub: PooledHub, shards: Sequence[ShardInfo], cursors: Mapping[int, int]) -> HubUntrusted | None:
        """Why the hub cannot be followed from these heights, which were already read; None if it can."""
        for one in shards:
            head, cursor = head_of(hub, one), cursors.get(one.shardId, 0)
            if head < cursor:
                description = (
                    f"hub {hub.name} is behind: its shard {one.shardId} is at height {head}, "
                    f"but {cursor} was already read"
                )
                if _is_at_its_tip(one, cursor - head):
                    newest = f"and its newest block is only {one.blockDelay} s old"
                    return OtherHistory(f"{description}, {newest}: it has another history", hint=ANOTHER_NETWORK)
                hint = "wait until it has caught up, or name another hub in FC_HUB_URLS"
                is_little = cursor - head <= MAX_NODE_LAG_HEIGHTS
                return (
                    HubBehind(description, height=head, hint=hint)
                    if is_little
                    else HubUntrusted(description, hint=hint)
                )
        return None

    def _shards_needed(self, hub: PooledHub, info: HubInfo, shard: int | None) -> list[ShardInfo]:
        """The hub's info on the shard, or on all data shards. Raises HubUntrusted where its shards are others."""
        if not info.shardInfos:
            raise HubUntrusted(
                f"hub {hub.name} (version {info.version}) is a Hubble hub; fc_pipeline reads Snapchain",
                hint="name a Snapchain hub in FC_HUB_URLS",
            )
        if self._begun_with not in (None, info.numShards):
            raise OtherHistory(
                f"hub {hub.name} has {info.numShards} data shards, but the replica was begun with {self._begun_with}",
                hint=ANOTHER_NETWORK,
            )
        if self._expected_shards is None:
            self._expected_shards = info.numShards
        if info.numShards != self._expected_shards:
            raise HubUntrusted(
                f"hub {hub.name} has {info.numShards} data shards where {self._expected_shards} are expected",
                hint="is it of the same network as the other hubs and the database?",
            )
        by_id = {one.shardId: one for one in info.shardInfos}
        needed = range(1, info.numShards + 1) if shard is None else (shard,)
        missing = [one for one in needed if one not in by_id]
        if missing:
            raise HubUntrusted(f"hub {hub.name} does not serve shard {missing}, only {sorted(by_id)}")
        return [by_id[one] for one in needed]

    async def _info_of(self, hub: PooledHub, *, newer_than: HubInfo | None = None) -> HubInfo:
        """The hub's `/v1/info`, at most half a minute old, and another one than `newer_than`."""
        failure = hub.failure
        async with hub.asking:
            # Several shards are vetted at a time; one answer, or its failure, serves them all.
            if hub.failure is not None and hub.failure is not failure:
                raise hub.failure
            known = hub.known_info
            if known is None or known is newer_than or hub.known_at + VETTED_SECONDS < self._clock():
                try:
                    known = await hub.info(retries=self._info_retries)
                    hub.refusal = await self._refusal(hub, known)
                except FAILOVER_ERRORS as error:
                    self._leave(hub, error)
                    raise
                hub.known_info = known
                hub.known_at = self._clock()
                # What it sent before no longer counts: a hub can be reset to an older state.
                hub.seen_heights.clear()
            return known

    async def _refusal(self, hub: PooledHub, info: HubInfo) -> HubUntrusted | None:
        """The error of the check of its history."""
        try:
            if self._check_history is not None:
                await self._check_history(hub, info)
        except HubUntrusted as refusal:
            return refusal
        return None


def head_of(hub: PooledHub, shard: ShardInfo) -> int:
    """The highest block of a shard that a node of the hub has sent or reported."""
    return max(shard.maxHeight, hub.seen_heights.get(shard.shardId, 0))


def _is_at_its_tip(shard: ShardInfo, behind_heights: int) -> bool:
    """Whether a hub that is behind cannot catch up, because its newest block is recent: there is one per second."""
    is_new = shard.maxHeight > 0 and shard.blockDelay <= STALE_AFTER_SECONDS
    return is_new and behind_heights > MAX_NODE_LAG_HEIGHTS + 2 * shard.blockDelay
