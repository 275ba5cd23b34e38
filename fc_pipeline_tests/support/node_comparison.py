"""What our tables and a node's own answers say of a user, asked over HTTP without our client, and what differs."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline_tests.support.workbench import Workbench

__all__ = ["NodeAnswers", "differences"]

_PAGE_SIZE: Final = 1_000
_EVENT_TYPES: Final = ("ID_REGISTER", "SIGNER", "SIGNER_MIGRATED", "STORAGE_RENT", "TIER_PURCHASE")
_LIMITED: Final = ("casts", "links", "reactions", "user_data", "verifications", "username_proofs")
Facts = set[tuple[Any, ...]]
"""Of one user, each with the FID first."""


@dataclass(frozen=True)
class NodeAnswers:
    """A node that is asked; `absent` are the endpoints that it does not have (404), of which nothing is compared."""

    http: httpx.Client
    absent: set[str] = field(default_factory=set)

    def answer(self, endpoint: str, **asked: Any) -> dict[str, Any]:
        """What it says; nothing where it knows no such user (400)."""
        answer = self.http.get(f"/v1/{endpoint}", params=asked)
        if answer.status_code == 404:
            self.absent.add(endpoint)
        if answer.status_code in (400, 404):
            return {}
        return answer.raise_for_status().json()

    def items(self, endpoint: str, key: str, **asked: Any) -> Iterator[Any]:
        """The items of all pages."""
        token: str | None = None
        while True:
            paging = {"pageSize": _PAGE_SIZE} | ({"pageToken": token} if token else {})
            page = self.answer(endpoint, **asked, **paging)
            yield from page.get(key, ())
            token = page.get("nextPageToken")
            if not token:
                return


def _hashes(endpoint: str, kind: str, **asked: Any) -> Callable[[NodeAnswers, int], Facts]:
    def of_fid(node: NodeAnswers, fid: int) -> Facts:
        messages = node.items(endpoint, "messages", fid=fid, **asked)
        return {(fid, message["hash"]) for message in messages if message["data"]["type"].startswith(kind)}

    return of_fid


def _embeds(node: NodeAnswers, fid: int) -> Facts:
    found: Facts = set()
    for message in node.items("castsByFid", "messages", fid=fid):
        body = message["data"].get("castAddBody") or {}
        old = [{"url": url} for url in body.get("embedsDeprecated", ())]
        for position, embed in enumerate(body.get("embeds") or old):
            found.add((fid, message["hash"], position, embed.get("url") or embed["castId"]["hash"]))
    return found


def _keys(node: NodeAnswers, fid: int) -> Facts:
    """Of a key that was removed and added again the old events are listed, too: only adds count (hub-api 12)."""
    found: Facts = set()
    for one in node.items("signersByFid", "signers", fid=fid):
        event = one.get("onChainEvent")
        if event is None:
            found.add((fid, one["key"], "gasless"))
        elif event["signerEventBody"]["eventType"] == "SIGNER_EVENT_TYPE_ADD":
            found.add((fid, one["key"], "onchain"))
    return found


def _limits(node: NodeAnswers, fid: int) -> Facts:
    limits = {one["name"].lower(): one["limit"] for one in node.answer("storageLimitsByFid", fid=fid).get("limits", ())}
    return {(fid, name, limits[name]) for name in _LIMITED if limits.get(name)}


def _contract_events(node: NodeAnswers, fid: int) -> Facts:
    return {
        (fid, event["transactionHash"], event["logIndex"])
        for kind in _EVENT_TYPES
        for event in node.answer("onChainEventsByFid", fid=fid, event_type=f"EVENT_TYPE_{kind}").get("events", ())
    }


def _names(node: NodeAnswers, fid: int) -> Facts:
    return {(fid, proof["name"]) for proof in node.answer("userNameProofsByFid", fid=fid).get("proofs", ())}


def _channels(node: NodeAnswers, fid: int) -> Facts:
    return {(fid, one["channelKey"]) for one in node.items("channelsByFid", "channels", fid=fid)}


def _memberships(node: NodeAnswers, fid: int) -> Facts:
    return {
        (fid, one["channelId"], one["state"].removeprefix("CHANNEL_MEMBER_STATE_").lower())
        for one in node.items("channelMembershipsByFid", "memberships", fid=fid)
    }


def _follows(node: NodeAnswers, fid: int) -> Facts:
    return {(fid, one["channelId"], one["followedAt"]) for one in node.items("channelFollows", "follows", fid=fid)}


def _hex(column: str) -> str:
    return f"'0x' || encode({column}, 'hex')"


def _live_hashes(table: str) -> str:
    return f"SELECT fid, {_hex('hash')} FROM {table} WHERE deleted_at IS NULL"


_SAID: Final[Mapping[str, tuple[Callable[[NodeAnswers, int], Facts], str]]] = {
    "casts": (_hashes("castsByFid", "MESSAGE_TYPE_CAST_ADD"), _live_hashes("casts")),
    "reactions": (
        _hashes("reactionsByFid", "MESSAGE_TYPE_REACTION_ADD", reaction_type="None"),
        _live_hashes("reactions"),
    ),
    "links": (_hashes("linksByFid", "MESSAGE_TYPE_LINK_ADD"), _live_hashes("links")),
    "verifications": (
        _hashes("verificationsByFid", "MESSAGE_TYPE_VERIFICATION_ADD_ETH_ADDRESS"),
        _live_hashes("verifications"),
    ),
    "user_data": (_hashes("userDataByFid", "MESSAGE_TYPE_USER_DATA_ADD"), _live_hashes("user_data")),
    "embeds": (
        _embeds,
        f"SELECT fid, {_hex('hash')}, position, coalesce(url, {_hex('cast_hash')}) FROM embeds",
    ),
    "signers": (
        _keys,
        f"SELECT fid, {_hex('key')}, kind FROM signers WHERE removed_at IS NULL AND key_type = 1",
    ),
    "storage": (
        _limits,
        " UNION ALL ".join(
            f"SELECT fid, '{name}', sum({name}_limit)::bigint FROM storage GROUP BY fid HAVING sum({name}_limit) > 0"
            for name in _LIMITED
        ),
    ),
    "on_chain_events": (
        _contract_events,
        f"SELECT fid, {_hex('transaction_hash')}, log_index FROM on_chain_events WHERE deleted_at IS NULL "
        f"AND upper(type) IN {_EVENT_TYPES}",
    ),
    "username_proofs": (_names, "SELECT fid, name FROM username_proofs WHERE deleted_at IS NULL"),
    "channels": (_channels, "SELECT fid, channel_key FROM channels"),
    "channel_members": (_memberships, f"SELECT fid, {_hex('channel_id')}, state FROM channel_members"),
    "channel_follows": (
        _follows,
        f"SELECT fid, {_hex('channel_id')}, extract(epoch FROM followed_at)::bigint - {FARCASTER_EPOCH_UNIX} "
        "FROM channel_follows",
    ),
}
_METADATA: Final = ("name", "description", "imageUrl", "header", "rules", "castingMode", "membershipMode")
_ID: Final = _hex("channel_id")


def _owner(node: NodeAnswers, channel_id: str, channel_key: str) -> Facts:
    said = node.answer("channelOwner", channel_key=channel_key)
    return {(channel_id, said["fid"], said["ownerAddress"], said["expiry"])} if said else set()


def _metadata(node: NodeAnswers, channel_id: str, channel_key: str) -> Facts:
    said = node.answer("channelMetadata", channelId=channel_id)
    return {(channel_id, *(said[name] for name in _METADATA))} if said else set()


def _members(node: NodeAnswers, channel_id: str, channel_key: str) -> Facts:
    return {
        (channel_id, one["fid"], one["state"].removeprefix("CHANNEL_MEMBER_STATE_").lower())
        for one in node.items("channelMembers", "members", channelId=channel_id)
    }


def _pin(node: NodeAnswers, channel_id: str, channel_key: str) -> Facts:
    pin = node.answer("channelPin", channelId=channel_id).get("pin")
    return {(channel_id, pin["castHash"], pin["authorFid"])} if pin else set()


def _moderations(node: NodeAnswers, channel_id: str, channel_key: str) -> Facts:
    return {
        (channel_id, one["castHash"], one["action"].removeprefix("CHANNEL_MODERATE_ACTION_").lower(), one["authorFid"])
        for one in node.items("channelModerations", "moderations", channelId=channel_id)
    }


_SAID_OF_CHANNELS: Final[Mapping[str, tuple[Callable[[NodeAnswers, str, str], Facts], str]]] = {
    "channel owners": (
        _owner,
        f"SELECT {_ID} AS channel_id, coalesce(fid, 0), owner_address, extract(epoch FROM expires_at)::bigint "
        "FROM channels",
    ),
    "channel_settings": (
        _metadata,
        f"SELECT {_ID} AS channel_id, name, description, image_url, header, rules, "
        "'CASTING_MODE_' || upper(casting_mode), 'MEMBERSHIP_MODE_' || upper(membership_mode) FROM channels",
    ),
    "members of channels": (_members, f"SELECT {_ID} AS channel_id, fid, state FROM channel_members"),
    "channel_pins": (
        _pin,
        f"SELECT {_ID} AS channel_id, {_hex('cast_hash')}, fid FROM channel_pins WHERE cast_hash IS NOT NULL",
    ),
    "channel_moderations": (
        _moderations,
        f"SELECT {_ID} AS channel_id, {_hex('cast_hash')}, action, fid FROM channel_moderations",
    ),
}
_LISTED_IN_PART: Final = {"username_proofs"}
"""A node lists some of a user's names only (hub-api T9): it may know more than it says."""


def differences(bench: Workbench, node: NodeAnswers, fids: Collection[int]) -> list[str]:
    """A line for each fact about these users and their channels that only one of the two has."""
    found: list[str] = []
    for table, (ask, query) in _SAID.items():
        theirs: Facts = set().union(*(ask(node, fid) for fid in fids))
        ours = {
            tuple(row) for row in bench.rows(f"SELECT * FROM ({query}) AS said WHERE fid = ANY (:fids)", fids=[*fids])
        }
        found += _only_one_has(table, theirs, ours, is_listed_in_part=table in _LISTED_IN_PART)
    of_fids = f"SELECT {_ID} AS channel_id, channel_key FROM channels WHERE fid = ANY (:fids) OR fid IS NULL"
    for channel_id, channel_key in bench.rows(of_fids, fids=[*fids]):
        for table, (ask_channel, query) in _SAID_OF_CHANNELS.items():
            ours = {
                tuple(row) for row in bench.rows(f"SELECT * FROM ({query}) AS s WHERE channel_id = :id", id=channel_id)
            }
            found += _only_one_has(table, ask_channel(node, channel_id, channel_key), ours)
    return found


def _only_one_has(table: str, theirs: Facts, ours: Facts, *, is_listed_in_part: bool = False) -> list[str]:
    lines = [f"{table}: only the node has {fact}" for fact in sorted(theirs - ours, key=repr)]
    if not is_listed_in_part:
        lines += [f"{table}: only we have {fact}" for fact in sorted(ours - theirs, key=repr)]
    return lines
