"""All records that a hub's by-FID endpoints have of one FID: raw, page by page (hub-api 6)."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from fc_pipeline.backfill.fid_keys import gasless_keys
from fc_pipeline.backfill.fid_leaves import FidLeaves
from fc_pipeline.errors import HubRefused
from fc_pipeline.hub.client import HubKeyRefused
from fc_pipeline.hub.decode import DECODE_ERRORS
from fc_pipeline.hub.reads import PAGE_SIZE, HubReads, OnChainEventType
from fc_pipeline.hub.snapshot import CONTRACTS_FID, NAMES_ASKED, SnapshotPage
from fc_pipeline.hub.wire import Message, StorageLimits, UsernameProof
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import MESSAGE_SETS
from fc_pipeline.tables.user_data import USER_DATA
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = ["expected_messages", "expected_requests", "snapshot"]

_OF_CONTRACTS: Final[tuple[OnChainEventType, ...]] = ("EVENT_TYPE_SIGNER_MIGRATED", "EVENT_TYPE_CHANNEL_REGISTER")
_OF_USERS: Final[tuple[OnChainEventType, ...]] = (
    "EVENT_TYPE_SIGNER",
    "EVENT_TYPE_ID_REGISTER",
    "EVENT_TYPE_STORAGE_RENT",
    "EVENT_TYPE_CHANNEL_REGISTER",
)
_USERNAME: Final = b"USER_DATA_TYPE_USERNAME"
_MESSAGE: Final = msgspec.json.Decoder(Message)
_PROOF: Final = msgspec.json.Decoder(UsernameProof)
_NEW_EVENT_TYPES: Final = ("EVENT_TYPE_TIER_PURCHASE", "EVENT_TYPE_CHANNEL_REGISTER")
_UNKNOWN_VALUE: Final = "Invalid query parameters"
"""Prefix of a hub's refusal of a parameter value that it does not know (hub-api 1.3)."""


async def snapshot(
    hub: HubReads, fid: int, held_names: Collection[str] = (), leaves: FidLeaves | None = None
) -> AsyncIterator[SnapshotPage]:
    """Every record of an FID, page by page, the pages of one kind after those of another.

    Lists that the storage limits call empty are not requested; no limit covers name proofs, contract events and keys.
    A name that the FID shows, or holds by the tables (`held_names`), and whose proof is not listed, is requested by
    name: the list has one fname per FID (hub-api T9). Message removes, other than of casts, and compact link states are
    not served (hub-api 6.2). A record that changes while its list is read may occur twice, the newer one later. Raises
    HubError.
    """
    if fid == CONTRACTS_FID:
        async for page in _on_chain_events(hub, fid, _OF_CONTRACTS):
            yield page
        return
    limits = await _limits(hub, fid)
    names = set(held_names)
    async for page in _messages(hub, fid, limits):
        names |= _shown_names(page.records) if page.kind == USER_DATA.name else set()
        yield page
    async for page in _proofs(hub, fid, names):
        names |= _proved_names(page)
        yield page
    async for page in _on_chain_events(hub, fid, _event_types(limits)):
        yield page
    async for page in gasless_keys(hub, fid):
        yield page
    async for page in _leaves(leaves, limits, names):
        yield page


async def _leaves(
    leaves: FidLeaves | None, limits: StorageLimits | None, names: Collection[str]
) -> AsyncIterator[SnapshotPage]:
    if leaves is not None:
        async for page in leaves.pages(_leaf_lists(limits), names):
            yield page


def _leaf_lists(limits: StorageLimits | None) -> list[str]:
    """The lists in which a node may have messages that are no rows; removes count as used (hub-api 6.2)."""
    lists = [name for name in ("reactions", "links", "verifications") if _may_have(limits, name.upper())]
    return [*lists, "compact_states", "lends"]


def _proved_names(page: SnapshotPage) -> set[str]:
    if page.kind != USERNAME_PROOFS.name:
        return set()
    return {proof.name for raw in page.records if (proof := _proof(raw)) and proof.name}


async def _messages(hub: HubReads, fid: int, limits: StorageLimits | None) -> AsyncIterator[SnapshotPage]:
    for one in MESSAGE_SETS:
        if one.list_by_fid and one.storage_type and _may_have(limits, one.storage_type):
            async for records in one.list_by_fid(hub, fid):
                yield SnapshotPage(one.name, records)


def _shown_names(user_data: Sequence[bytes]) -> set[str]:
    """The username that an FID shows, among its user data. A record that cannot be read shows none."""
    names: set[str] = set()
    for raw in user_data:
        if _USERNAME in raw:
            with suppress(*DECODE_ERRORS):
                body = _MESSAGE.decode(raw).data.userDataBody
                names |= {body.value} if body and body.value else set()
    return names


async def _proofs(hub: HubReads, fid: int, names: set[str]) -> AsyncIterator[SnapshotPage]:
    """The FID's listed proofs, and those of `names` that the list leaves out."""
    found = await hub.username_proofs_by_fid(fid)
    asked = sorted(names - {proof.name for raw in found if (proof := _proof(raw))})
    for name in asked:
        raw = await hub.username_proof_by_name(name)
        proof = _proof(raw) if raw else None
        if raw and proof and proof.fid == fid:
            found.append(raw)
    if found:
        yield SnapshotPage(USERNAME_PROOFS.name, found)
    if asked:
        yield SnapshotPage(NAMES_ASKED, [name.encode() for name in asked])


def _proof(raw: bytes) -> UsernameProof | None:
    with suppress(*DECODE_ERRORS):
        return _PROOF.decode(raw)
    return None


def expected_requests(limits: StorageLimits) -> int:
    """How many requests the snapshot of an FID with these limits takes, with the pages that the limits imply.

    Limits, name proofs and signers take one each, contract events one per type.
    """
    pages = sum(
        used // PAGE_SIZE + 1
        for one in MESSAGE_SETS
        if one.storage_type and _may_have(limits, one.storage_type)
        for used in [sum(limit.used for limit in limits.limits if limit.name == one.storage_type)]
    )
    return 1 + pages + 1 + len(_event_types(limits)) + 1


def expected_messages(limits: StorageLimits) -> int:
    """About how many messages there are: removes count as used, but not all of them are served (hub-api 6.2)."""
    names = {one.storage_type for one in MESSAGE_SETS if one.storage_type}
    return sum(limit.used for limit in limits.limits if limit.name in names)


async def _on_chain_events(
    hub: HubReads, fid: int, event_types: Sequence[OnChainEventType]
) -> AsyncIterator[SnapshotPage]:
    for event_type in event_types:
        try:
            async for records in hub.on_chain_events_by_fid(fid, event_type):
                yield SnapshotPage(ON_CHAIN_EVENTS.name, records)
        except HubKeyRefused:
            raise
        except HubRefused as refused:
            # A hub that does not know the event type has no such event. Any other refusal must not be read as "none",
            # because that would delete the rows that the tables have.
            if event_type not in _NEW_EVENT_TYPES or not (refused.detail or "").startswith(_UNKNOWN_VALUE):
                raise


async def _limits(hub: HubReads, fid: int) -> StorageLimits | None:
    """What the FID stores; None if the hub does not say, so that every list must be requested."""
    try:
        return await hub.storage_limits_by_fid(fid)
    except HubKeyRefused:
        raise
    except HubRefused:
        return None


def _may_have(limits: StorageLimits | None, name: str) -> bool:
    """Whether the set may hold something: not where the limits name it and call it empty."""
    used = [limit.used for limit in limits.limits if limit.name == name] if limits else []
    return not used or any(used)


def _event_types(limits: StorageLimits | None) -> tuple[OnChainEventType, ...]:
    subscriptions = limits.tier_subscriptions if limits else None
    if subscriptions is None or any(subscription.expires_at for subscription in subscriptions):
        return (*_OF_USERS, "EVENT_TYPE_TIER_PURCHASE")
    return _OF_USERS
