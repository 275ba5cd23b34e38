"""The read endpoints that a replica needs, typed: of one hub (`HubReads`), or of several with failover (`HubPool`).

Lists come as pages of raw JSON, one `bytes` per message or contract event, so that a bad record fails alone later on.
Parameter names are exact: a hub ignores a misspelt one silently (hub-api T1).
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from fc_pipeline.errors import HubRefused
from fc_pipeline.hub.client import HubClient, Params
from fc_pipeline.hub.decode import DECODE_ERRORS, split_page
from fc_pipeline.hub.paging import ListPage, fids_page, raw_page, walk
from fc_pipeline.hub.wire import HubInfo, StorageLimits, UsernameProof

__all__ = [
    "MAX_NODE_LAG_HEIGHTS",
    "PAGE_SIZE",
    "SIGNERS_PATH",
    "HubReads",
    "OnChainEventType",
    "ReactionType",
    "ReadEndpoints",
]

T = TypeVar("T")
OnChainEventType = Literal[
    "EVENT_TYPE_SIGNER",
    "EVENT_TYPE_SIGNER_MIGRATED",
    "EVENT_TYPE_ID_REGISTER",
    "EVENT_TYPE_STORAGE_RENT",
    "EVENT_TYPE_TIER_PURCHASE",
    "EVENT_TYPE_CHANNEL_REGISTER",
]
ReactionType = Literal["None", "Like", "Recast"]
"""`None` means all types; leaving the parameter out is a 400 on Snapchain (hub-api T24)."""

PAGE_SIZE: Final = 1000
MAX_NODE_LAG_HEIGHTS: Final = 120
"""How many blocks, or about as many seconds, one node or hub may be behind another."""
SIGNERS_PATH: Final = "/v1/signersByFid"
_INFO = msgspec.json.Decoder(HubInfo)
_LIMITS = msgspec.json.Decoder(StorageLimits)
_PROOF = msgspec.json.Decoder(UsernameProof)
_MESSAGES = raw_page("messages")
_ON_CHAIN_EVENTS = raw_page("events")
_PROOFS = raw_page("proofs")
_SIGNERS = raw_page("signers")


class ReadEndpoints(ABC):
    """The endpoints, on top of two kinds of requests: one answer, or all pages of a list.

    All raise HubUnavailable, HubRefused or HubUntrusted as HubClient and HubPool say.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The hub's address without anything secret."""

    @abstractmethod
    async def ask(self, question: Callable[[HubClient], Awaitable[T]]) -> T:
        """The answer of a hub."""

    @abstractmethod
    def pages(self, question: Callable[[HubClient], AsyncIterator[list[T]]]) -> AsyncIterator[list[T]]:
        """The pages of a hub's list, from its beginning to its end."""

    async def info(self, *, retries: int | None = None) -> HubInfo:
        """Version and shards of the hub (hub-api 2)."""
        return await self.ask(lambda hub: hub.read("/v1/info", (), _INFO.decode, retries=retries))

    async def events(
        self,
        shard: int,
        from_event_id: int,
        stop_id: int | None = None,
        page_size: int = PAGE_SIZE,
        *,
        reverse: bool = False,
        retries: int | None = None,
    ) -> list[bytes]:
        """One page of the feed, raw: ids from `from_event_id` up to but without `stop_id`, ascending (hub-api 3.1).

        Fewer than `page_size` means the tip; `reverse` gives the newest first.
        """
        params: dict[str, str | int] = {
            "from_event_id": from_event_id,
            "shard_index": shard,
            "page_size": page_size,
        }
        if stop_id is not None:
            params["stop_id"] = stop_id
        if reverse:
            params["reverse"] = "true"
        return await self.ask(lambda hub: hub.read("/v1/events", params, split_page, retries=retries))

    async def event_by_id(self, shard: int, event_id: int) -> bytes | None:
        """One event, raw; None where the hub has none of that id, or no longer (hub-api 3.2)."""
        params = {"event_id": event_id, "shard_index": shard}
        return await self._or_none(
            lambda hub: hub.read("/v1/eventById", params, _one_object, internal_is_transient=False)
        )

    def fids(self, shard: int, page_size: int = PAGE_SIZE) -> AsyncIterator[list[int]]:
        """Every FID of a shard; a few come twice, and pages may be short (hub-api 6.3)."""
        return self.pages(_walk("/v1/fids", [("shard_id", shard)], page_size, fids_page))

    def casts_by_fid(self, fid: int, page_size: int = PAGE_SIZE) -> AsyncIterator[list[bytes]]:
        """CAST_ADD and CAST_REMOVE messages mixed (hub-api T7)."""
        return self._messages("/v1/castsByFid", [("fid", fid)], page_size)

    def reactions_by_fid(
        self, fid: int, reaction_type: ReactionType = "None", page_size: int = PAGE_SIZE
    ) -> AsyncIterator[list[bytes]]:
        """REACTION_ADD messages."""
        return self._messages("/v1/reactionsByFid", [("fid", fid), ("reaction_type", reaction_type)], page_size)

    def links_by_fid(
        self, fid: int, link_type: str | None = None, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[list[bytes]]:
        """LINK_ADD messages, of all types unless one is named."""
        params: list[tuple[str, str | int]] = [("fid", fid)]
        if link_type is not None:
            params.append(("link_type", link_type))
        return self._messages("/v1/linksByFid", params, page_size)

    def user_data_by_fid(self, fid: int, page_size: int = PAGE_SIZE) -> AsyncIterator[list[bytes]]:
        """USER_DATA_ADD messages, one per type."""
        return self._messages("/v1/userDataByFid", [("fid", fid)], page_size)

    def verifications_by_fid(self, fid: int, page_size: int = PAGE_SIZE) -> AsyncIterator[list[bytes]]:
        """VERIFICATION_ADD messages."""
        return self._messages("/v1/verificationsByFid", [("fid", fid)], page_size)

    async def username_proofs_by_fid(self, fid: int) -> list[bytes]:
        """The FID's name proofs, the newest of each name: a hub repeats one per shard, stale ones too (hub-api T9)."""
        page = await self.ask(lambda hub: hub.read("/v1/userNameProofsByFid", {"fid": fid}, _PROOFS))
        return _newest_per_name(page.items)

    async def username_proof_by_name(self, name: str) -> bytes | None:
        """The proof of a name, raw; None if no FID holds it."""
        return await self._or_none(lambda hub: hub.read("/v1/userNameProofByName", {"name": name}, _one_object))

    def on_chain_signers_by_fid(self, fid: int, page_size: int = PAGE_SIZE) -> AsyncIterator[list[bytes]]:
        """Contract events of the signers that are active now; older ones of the same keys too (hub-api 6.2)."""
        return self.pages(_walk("/v1/onChainSignersByFid", [("fid", fid)], page_size, _ON_CHAIN_EVENTS))

    def signers_by_fid(self, fid: int, page_size: int = PAGE_SIZE) -> AsyncIterator[list[bytes]]:
        """Signers with and without a contract event; keys added without one are in no event log (hub-api T10).

        Pages of 0 never end (protocol-tables 1.3). Raises HubLacksEndpoint for a hub that does not know gasless keys.
        """
        if page_size < 1:
            raise ValueError("a page of signers has at least one")
        return self.pages(_walk(SIGNERS_PATH, [("fid", fid)], page_size, _SIGNERS))

    def on_chain_events_by_fid(
        self, fid: int, event_type: OnChainEventType, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[list[bytes]]:
        """Contract events of one type; Snapchain sends them all at once, Hubble in pages."""
        params: list[tuple[str, str | int]] = [("fid", fid), ("event_type", event_type)]
        return self.pages(_walk("/v1/onChainEventsByFid", params, page_size, _ON_CHAIN_EVENTS))

    async def storage_limits_by_fid(self, fid: int) -> StorageLimits:
        """What the FID may store, per message set."""
        return await self.ask(lambda hub: hub.read("/v1/storageLimitsByFid", {"fid": fid}, _LIMITS.decode))

    def _messages(self, path: str, params: list[tuple[str, str | int]], page_size: int) -> AsyncIterator[list[bytes]]:
        return self.pages(_walk(path, params, page_size, _MESSAGES))

    async def _or_none(self, question: Callable[[HubClient], Awaitable[bytes]]) -> bytes | None:
        try:
            return await self.ask(question)
        except HubRefused as refused:
            detail = (refused.detail or "").lower()
            if detail.startswith("status: notfound") or "not_found" in detail:
                return None
            raise


class HubReads(ReadEndpoints):
    """The endpoints of one hub."""

    def __init__(self, client: HubClient) -> None:
        self.client = client

    @property
    def name(self) -> str:
        """The hub's address without anything secret."""
        return self.client.name

    @property
    def may_be_several(self) -> bool:
        """Whether more nodes than one may answer, each at a height of its own."""
        return self.client.may_be_several

    async def ask(self, question: Callable[[HubClient], Awaitable[T]]) -> T:
        """The answer of this hub."""
        return await question(self.client)

    def pages(self, question: Callable[[HubClient], AsyncIterator[list[T]]]) -> AsyncIterator[list[T]]:
        """The pages of this hub's list."""
        return question(self.client)


async def _ask_page(
    hub: HubClient,
    path: str,
    params: list[tuple[str, str | int]],
    page_size: int,
    parse: Callable[[bytes], ListPage[T]],
    token: str | None,
) -> ListPage[T]:
    asked: Params = [*params, ("pageSize", page_size), *([("pageToken", token)] if token else [])]
    return await hub.read(path, asked, parse)


def _walk(
    path: str,
    params: list[tuple[str, str | int]],
    page_size: int,
    parse: Callable[[bytes], ListPage[T]],
) -> Callable[[HubClient], AsyncIterator[list[T]]]:
    return lambda hub: walk(partial(_ask_page, hub, path, params, page_size, parse), partial(_asked, hub, path, params))


def _asked(hub: HubClient, path: str, params: list[tuple[str, str | int]]) -> str:
    return f"hub {hub.name} GET {path}?{urlencode(params)}"


def _one_object(body: bytes) -> bytes:
    msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return body


def _newest_per_name(raws: list[bytes]) -> list[bytes]:
    newest: dict[tuple[str, str], tuple[int, bytes]] = {}
    undecodable: list[bytes] = []
    for raw in raws:
        try:
            proof = _PROOF.decode(raw)
        except DECODE_ERRORS:
            undecodable.append(raw)
            continue
        key = (proof.name, proof.type)
        if key not in newest or proof.timestamp > newest[key][0]:
            newest[key] = (proof.timestamp, raw)
    return [raw for _, raw in newest.values()] + undecodable
