"""Channels as the hub's block shard knows them: whose they are, their settings, members, pins and moderations.

A plain model of protocol-tables 3. Of each slot the last message holds, whoever it is from and whatever time it claims.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

__all__ = [
    "ASSET_PREFIX",
    "LIKE",
    "MEMBER_STATES",
    "Channel",
    "Channels",
    "Slot",
    "Verified",
    "asset_url",
    "followed_channel",
]

ASSET_PREFIX: Final = "eip155:11155111/erc721:0x7Dd80C661dED9bFC8D4440224A0b39b345a91BE4/"
"""What precedes a channel's number in its asset's URL, on test and development networks (protocol-tables 3.5)."""
MAX_DIGITS: Final = 78
LIKE: Final = "REACTION_TYPE_LIKE"

_STATES: Final = {
    "ADD_MEMBER": "MEMBER",
    "REMOVE_MODERATOR": "MEMBER",
    "ADD_MODERATOR": "MODERATOR",
    "REMOVE_MEMBER": "REMOVED",
    "UNBAN": "REMOVED",
    "BAN": "BANNED",
}
"""What an FID is in a channel after the last action upon it (protocol-tables 3.4)."""
MEMBER_STATES: Final = ("NONE", "MEMBER", "MODERATOR", "REMOVED", "BANNED")


@dataclass(frozen=True, slots=True)
class Channel:
    """A registered channel; `expiry` is unix seconds."""

    channel_id: str
    key: str
    owner_address: str
    expiry: int


class Slot(NamedTuple):
    """What the last message for a slot set, by whom, the Farcaster second that it claims, and the message."""

    value: Any
    fid: int
    timestamp: int
    message: bytes


class Verified(NamedTuple):
    """The newest message about an address of an FID, in the order in which messages win."""

    timestamp: int
    is_removed: bool
    hash: str


def asset_url(channel_id: str) -> str:
    """The URL whose like is a follow."""
    return f"{ASSET_PREFIX}{int(channel_id, 16)}"


def followed_channel(target: object) -> str | None:
    """The channel's id where a reaction's target is the exact URL of an asset; any other spelling is no follow."""
    if not isinstance(target, str) or not target.startswith(ASSET_PREFIX):
        return None
    digits = target.removeprefix(ASSET_PREFIX)
    if not digits.isascii() or not digits.isdigit() or len(digits) > MAX_DIGITS:
        return None
    number = int(digits)
    return f"0x{number:064x}" if number < 2**256 and str(number) == digits else None


def _after_contract(channel: Channel | None, body: Mapping[str, Any]) -> Channel | None:
    """The channel after one more of its events; what comes before the registration does nothing."""
    change = body["eventType"].removeprefix("CHANNEL_REGISTER_EVENT_TYPE_")
    if change == "REGISTER":
        return Channel(body["label"].lower(), body["channelKey"], body["ownerAddress"].lower(), body["expiry"])
    if channel is not None and change == "RENEW":
        return replace(channel, expiry=body["expiry"])
    if channel is not None and change == "TRANSFER":
        return replace(channel, owner_address=body["ownerAddress"].lower())
    return channel


class Channels:
    """Registered channels, and the slots that messages have filled; all by the channel's id in 0x-hex."""

    def __init__(self) -> None:
        self.settings: dict[str, Slot] = {}
        self.pins: dict[str, Slot] = {}
        self.members: defaultdict[str, dict[int, Slot]] = defaultdict(dict)
        self.moderations: defaultdict[str, dict[str, Slot]] = defaultdict(dict)
        self._registered: dict[str, Channel] = {}
        self._contracts: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        self._verified: defaultdict[str, dict[int, Verified]] = defaultdict(dict)

    def apply_contract(self, event: Mapping[str, Any]) -> None:
        """A CHANNEL_REGISTER event. Those of a channel count in the order of the chain (protocol-tables 3.1).

        In the node's recorded feed they come on two shards, of which either may be read first.
        """
        events = self._contracts[event["channelRegisterEventBody"]["label"].lower()]
        events.append(event)
        events.sort(key=lambda one: (one["blockNumber"], one["txIndex"], one["logIndex"]))
        channel: Channel | None = None
        for one in events:
            channel = _after_contract(channel, one["channelRegisterEventBody"])
        if channel is not None:
            self._registered[channel.channel_id] = channel

    def apply_message(self, data: Mapping[str, Any], message: bytes) -> None:
        """A merged message of one of the types about channels, and its data."""
        slot = (data["fid"], data["timestamp"], message)
        match data["type"]:
            case "MESSAGE_TYPE_CHANNEL_UPDATE":
                body = data["channelUpdateBody"]
                self.settings[body["channelId"]] = Slot(body, *slot)
            case "MESSAGE_TYPE_CHANNEL_MEMBER":
                body = data["channelMemberBody"]
                state = _STATES[body["action"].removeprefix("CHANNEL_MEMBER_ACTION_")]
                self.members[body["channelId"]][body["fid"]] = Slot(state, *slot)
            case "MESSAGE_TYPE_CHANNEL_PIN":
                body = data["channelPinBody"]
                self.pins[body["channelId"]] = Slot(body["castHash"], *slot)
            case "MESSAGE_TYPE_CHANNEL_MODERATE":
                body = data["channelModerateBody"]
                self.moderations[body["channelId"]][body["castHash"]] = Slot(body["action"], *slot)
            case _:
                raise KeyError(data["type"])

    def note_verification(self, fid: int, address: str, verified: Verified) -> None:
        """A verification merged on any shard: prunes mean nothing for who owns a channel (protocol-tables 3.2)."""
        held = self._verified[address.lower()].get(fid)
        if held is None or verified > held:
            self._verified[address.lower()][fid] = verified

    @property
    def registered(self) -> list[Channel]:
        """All of them, in the order of their registration."""
        return list(self._registered.values())

    def of_id(self, channel_id: str) -> Channel | None:
        """The channel if it is registered."""
        return self._registered.get(channel_id)

    def of_key(self, key: str) -> Channel | None:
        """The channel of that very name."""
        return next((channel for channel in self._registered.values() if channel.key == key), None)

    def of_address(self, address: str) -> list[Channel]:
        """Channels that the contract gives to the address, by name."""
        mine = [channel for channel in self._registered.values() if channel.owner_address == address]
        return sorted(mine, key=lambda channel: channel.key.encode())

    def owner_of(self, channel: Channel) -> int:
        """The FID with the newest live verification of the owner's address; 0 while the channel is parked."""
        holders = self._verified.get(channel.owner_address, {}).items()
        live = [(held.timestamp, held.hash, -fid) for fid, held in holders if not held.is_removed]
        return -max(live)[2] if live else 0

    def memberships_of(self, fid: int) -> Iterator[tuple[str, str]]:
        """Ids of the channels that ever said something of the FID, and what it is there, by id."""
        for channel_id in sorted(self.members):
            slot = self.members[channel_id].get(fid)
            if slot is not None:
                yield channel_id, slot.value
