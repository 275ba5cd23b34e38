"""The channel endpoints of protocol V21 (protocol-tables 3.6)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import Refusal, compact, json_object
from fc_pipeline.sample_hub.channel_state import LIKE, MEMBER_STATES, Channel, asset_url, followed_channel
from fc_pipeline.sample_hub.endpoints import UINT32, hex_of, sets_of
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.paging import encoded_token, token_of
from fc_pipeline.sample_hub.query import Query

__all__ = ["ENDPOINTS"]

MAX_PAGE_SIZE: Final = 1000
ADDRESS_BYTES: Final = 20
ID_BYTES: Final = 32
STATES: Final = tuple(f"CHANNEL_MEMBER_STATE_{state}" for state in MEMBER_STATES)
TEXTS: Final = ("name", "description", "imageUrl", "header", "rules")

Entry = tuple[bytes, dict[str, Any]]
"""A row of a list: its key, by which the list is ordered, and what is shown of it."""


def _fid_of(query: Query, error: str) -> int:
    """Raises Refusal for 0 and for what needs more than 32 bits."""
    fid = query.required_integer("fid")
    if not 0 < fid <= UINT32:
        raise Refusal(error, "InvalidArgument", "fid must fit in a non-zero u32")
    return fid


def _channel_id(query: Query, error: str) -> str:
    channel_id = hex_of(query.required_text("channelId"), error)
    if len(channel_id) != 2 + 2 * ID_BYTES:
        raise Refusal(error, "InvalidArgument", f"channel_id must be {ID_BYTES} bytes")
    return channel_id


def _registered(hub: SampleHub, query: Query, error: str) -> Channel:
    channel = hub.state.channels.of_id(_channel_id(query, error))
    if channel is None:
        raise _unregistered(error)
    return channel


def _unregistered(error: str) -> Refusal:
    return Refusal(error, "NotFound", "channel not registered")


@dataclass(frozen=True, slots=True)
class _Paging:
    """Paging of a list of one `scope`, a channel or an FID: a token of another one is refused."""

    size: int
    reverse: bool
    after: bytes | None
    scope: bytes

    @classmethod
    def of(cls, query: Query, error: str, scope: bytes) -> "_Paging":
        size = query.integer("page_size", "pageSize", bits=32)
        reverse = query.flag("reverse")
        token = token_of(query)
        if size == 0:
            raise Refusal(error, "InvalidArgument", "page_size must be greater than zero")
        if token is not None and not token.startswith(scope):
            raise Refusal(error, "InvalidArgument", "page token does not belong to this request")
        after = None if token is None else token[len(scope) :]
        return cls(min(size or MAX_PAGE_SIZE, MAX_PAGE_SIZE), reverse, after, scope)

    def page(self, entries: Iterable[Entry]) -> tuple[list[Entry], bytes | None]:
        """The next entries, and the last one's key if the page is full."""
        return _page(entries, self.size, self.after, reverse=self.reverse)

    def listing(self, name: str, entries: Iterable[Entry]) -> Response:
        """An answer of one page; at the end the token's key is left out."""
        page, last = self.page(entries)
        return _listing(name, page, None if last is None else self.scope + last)


def _page(
    entries: Iterable[Entry], size: int, after: bytes | None, *, reverse: bool
) -> tuple[list[Entry], bytes | None]:
    ordered = sorted(entries, key=lambda entry: entry[0], reverse=reverse)
    if after is not None:
        ordered = [entry for entry in ordered if (entry[0] < after if reverse else entry[0] > after)]
    page = ordered[:size]
    return page, page[-1][0] if len(page) == size else None


def _listing(name: str, page: Sequence[Entry], token: bytes | None) -> Response:
    tail = {} if token is None else {"nextPageToken": encoded_token(token)}
    return json_object({name: [shown for _, shown in page], **tail})


def _fid_key(fid: int) -> bytes:
    return (fid & UINT32).to_bytes(4, "big")


def _id_key(channel_id: str) -> bytes:
    return bytes.fromhex(channel_id.removeprefix("0x"))


def _owned(hub: SampleHub, channel: Channel) -> dict[str, Any]:
    return {
        "channelKey": channel.key,
        "fid": hub.state.channels.owner_of(channel),
        "ownerAddress": channel.owner_address,
        "expiry": channel.expiry,
    }


def channel_owner(hub: SampleHub, query: Query) -> Response:
    """By the channel's name, spelt exactly; FID 0 is a parked channel."""
    key = query.required_text("channel_key")
    channel = hub.state.channels.of_key(key)
    if channel is None:
        raise _unregistered("Failed to get channel owner")
    shown = _owned(hub, channel)
    del shown["channelKey"]
    return json_object(shown)


def _owned_listing(query: Query, entries: Iterable[Entry], *, reverse: bool) -> Response:
    """A list of owned channels: a page of 0 is empty, and nobody checks whose token it is (hub-api 6.1, section 12)."""
    size = query.integer("page_size", "pageSize", bits=32)
    after = token_of(query)
    if size == 0:
        return _listing("channels", [], None)
    page, last = _page(entries, min(size or MAX_PAGE_SIZE, MAX_PAGE_SIZE), after, reverse=reverse)
    return _listing("channels", page, last)


def channels_by_address(hub: SampleHub, query: Query) -> Response:
    error = "Failed to get channels by address"
    address = hex_of(query.required_text("address"), error)
    if len(address) != 2 + 2 * ADDRESS_BYTES:
        raise Refusal(error, "InvalidArgument", f"address must be {ADDRESS_BYTES} bytes")
    mine = hub.state.channels.of_address(address)
    entries = [(channel.key.encode(), _owned(hub, channel)) for channel in mine]
    return _owned_listing(query, entries, reverse=query.flag("reverse"))


def channels_by_fid(hub: SampleHub, query: Query) -> Response:
    """Channels of the addresses that the FID has verified, as far as they are its own; no FID is refused."""
    fid = query.required_integer("fid")
    channels = hub.state.channels
    verified = sorted(address.lower() for address, row in sets_of(hub, fid).verifications.items() if row.is_add)
    mine = [one for address in verified for one in channels.of_address(address) if channels.owner_of(one) == fid]
    entries = [(f"{one.owner_address}/{one.key}".encode(), _owned(hub, one)) for one in mine]
    return _owned_listing(query, entries, reverse=False)


def channel_member(hub: SampleHub, query: Query) -> Response:
    error = "Failed to get channel member"
    fid = _fid_of(query, error)
    channel = _registered(hub, query, error)
    slot = hub.state.channels.members[channel.channel_id].get(fid)
    if slot is None:
        return json_object({"state": STATES[0]})
    return json_object({"state": f"CHANNEL_MEMBER_STATE_{slot.value}", "lastActionTs": slot.timestamp})


def channel_members(hub: SampleHub, query: Query) -> Response:
    """Whoever was ever named, the removed and banned ones too; NONE filters nothing."""
    error = "Failed to get channel members"
    wanted = query.choice("stateFilter", STATES) or query.choice("state_filter", STATES) or STATES[0]
    channel = _registered(hub, query, error)
    members = hub.state.channels.members[channel.channel_id]
    entries = [(_fid_key(fid), {"fid": fid, "state": f"CHANNEL_MEMBER_STATE_{s.value}"}) for fid, s in members.items()]
    kept = [entry for entry in entries if wanted in (STATES[0], entry[1]["state"])]
    return _Paging.of(query, error, _id_key(channel.channel_id)).listing("members", kept)


def channel_memberships_by_fid(hub: SampleHub, query: Query) -> Response:
    error = "Failed to get channel memberships by fid"
    fid = _fid_of(query, error)
    entries = [
        (_id_key(channel_id), {"channelId": channel_id, "state": f"CHANNEL_MEMBER_STATE_{state}"})
        for channel_id, state in hub.state.channels.memberships_of(fid)
    ]
    return _Paging.of(query, error, _fid_key(fid)).listing("memberships", entries)


def channel_pin(hub: SampleHub, query: Query) -> Response:
    """No pin where none was ever set, or the last message took it away."""
    channel = _registered(hub, query, "Failed to get channel pin")
    slot = hub.state.channels.pins.get(channel.channel_id)
    if slot is None or slot.value == "0x":
        return json_object({"pin": None})
    return json_object({"pin": {"castHash": slot.value, "authorFid": slot.fid}})


def channel_moderations(hub: SampleHub, query: Query) -> Response:
    """Casts shown again are in the list, too."""
    error = "Failed to get channel moderations"
    channel = _registered(hub, query, error)
    entries = [
        (bytes.fromhex(cast_hash[2:]), {"castHash": cast_hash, "action": slot.value, "authorFid": slot.fid})
        for cast_hash, slot in hub.state.channels.moderations[channel.channel_id].items()
    ]
    return _Paging.of(query, error, _id_key(channel.channel_id)).listing("moderations", entries)


def channel_metadata(hub: SampleHub, query: Query) -> Response:
    """Modes that are not set read as the strictest ones (protocol-tables 3.3)."""
    channel = _registered(hub, query, "Failed to get channel metadata")
    slot = hub.state.channels.settings.get(channel.channel_id)
    body: dict[str, Any] = slot.value if slot else {}
    casting = body.get("castingMode", "CASTING_MODE_NONE")
    membership = body.get("membershipMode", "MEMBERSHIP_MODE_NONE")
    return json_object(
        {
            **{name: body.get(name) for name in TEXTS},
            "castingMode": "CASTING_MODE_MEMBERS_ONLY" if casting.endswith("_NONE") else casting,
            "membershipMode": "MEMBERSHIP_MODE_APPROVAL" if membership.endswith("_NONE") else membership,
        }
    )


def _followers(hub: SampleHub, channel_id: str, error: str) -> dict[int, list[Entry]]:
    """Who likes the channel's asset, by home shard. Raises Refusal where the hub lacks a shard."""
    if len(hub.shards) < len(hub.log.shards):
        raise Refusal(error, "FailedPrecondition", "not all data shards are hosted")
    found: dict[int, list[Entry]] = {shard.shard: [] for shard in sorted(hub.shards, key=lambda one: one.shard)}
    url = asset_url(channel_id)
    for fid, sets in list(hub.state.fids.items()):
        row = sets.reactions.get((LIKE, url))
        if row is not None and row.is_add and row.shard in found:
            found[row.shard].append((_fid_key(fid), {"fid": fid, "followedAt": row.timestamp}))
    return found


def channel_followers(hub: SampleHub, query: Query) -> Response:
    """A page of each shard, one after the other, registered or not; the token says where each goes on, if it does."""
    error = "Failed to get channel followers"
    channel_id = _channel_id(query, error)
    paging = _Paging.of(query, error, _id_key(channel_id))
    by_shard = _followers(hub, channel_id, error)
    starts: list[str | None] = [""] * len(by_shard)
    if paging.after is not None:
        starts = _shard_starts(paging.after, len(by_shard), error)
    rows: list[Entry] = []
    ends: list[str | None] = []
    for entries, start in zip(by_shard.values(), starts, strict=True):
        after = bytes.fromhex(start) if start else None
        page, last = ([], None) if start is None else _page(entries, paging.size, after, reverse=paging.reverse)
        rows += page
        ends.append(None if last is None else last.hex())
    token = None if all(end is None for end in ends) else paging.scope + compact(ends)
    return _listing("followers", rows, token)


def _shard_starts(token: bytes, shards: int, error: str) -> list[str | None]:
    try:
        starts: list[str | None] = json.loads(token)
    except ValueError as problem:
        raise Refusal(error, "InvalidArgument", "page token does not belong to this request") from problem
    if len(starts) != shards:
        raise Refusal(error, "InvalidArgument", "Page token does not match number of shards")
    return starts


def channel_follower_count(hub: SampleHub, query: Query) -> Response:
    error = "Failed to get channel follower count"
    return json_object({"count": sum(map(len, _followers(hub, _channel_id(query, error), error).values()))})


def channel_follows(hub: SampleHub, query: Query) -> Response:
    error = "Failed to get channel follows"
    fid = _fid_of(query, error)
    entries: list[Entry] = []
    for (kind, target), row in sets_of(hub, fid).reactions.items():
        channel_id = followed_channel(target) if kind == LIKE and row.is_add else None
        if channel_id is not None:
            entries.append((_id_key(channel_id), {"channelId": channel_id, "followedAt": row.timestamp}))
    return _Paging.of(query, error, _fid_key(fid)).listing("follows", entries)


def is_following_channel(hub: SampleHub, query: Query) -> Response:
    error = "Failed to get is following channel"
    fid = _fid_of(query, error)
    row = sets_of(hub, fid).reactions.get((LIKE, asset_url(_channel_id(query, error))))
    if row is None or not row.is_add:
        return json_object({"following": False})
    return json_object({"following": True, "followedAt": row.timestamp})


ENDPOINTS: Final = {
    "/v1/channelOwner": channel_owner,
    "/v1/channelsByAddress": channels_by_address,
    "/v1/channelsByFid": channels_by_fid,
    "/v1/channelMember": channel_member,
    "/v1/channelMembers": channel_members,
    "/v1/channelMembershipsByFid": channel_memberships_by_fid,
    "/v1/channelPin": channel_pin,
    "/v1/channelModerations": channel_moderations,
    "/v1/channelMetadata": channel_metadata,
    "/v1/channelFollowers": channel_followers,
    "/v1/channelFollowerCount": channel_follower_count,
    "/v1/channelFollows": channel_follows,
    "/v1/isFollowingChannel": is_following_channel,
}
