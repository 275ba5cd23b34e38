"""What owners and moderators say of their channels: settings, members, pins, moderated casts (protocol V21)."""

from fc_pipeline.sample_hub.generator.communities import Communities
from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.texts import Texts
from fc_pipeline.sample_hub.generator.world import Community, Stored, User, World

__all__ = ["Moderating"]

MAX_MODERATORS = 10
CASTING_MODES = ("EVERYONE", "MEMBERS_ONLY", "RECOMMENDED", "NONE")
MEMBERSHIP_MODES = ("OPEN", "APPROVAL", "NONE")
STATES = {
    "ADD_MEMBER": "MEMBER",
    "REMOVE_MODERATOR": "MEMBER",
    "ADD_MODERATOR": "MODERATOR",
    "REMOVE_MEMBER": "REMOVED",
    "UNBAN": "REMOVED",
    "BAN": "BANNED",
}
"""What an action makes of its target."""
ACTIONS = {
    "NONE": ("ADD_MEMBER", "ADD_MEMBER", "ADD_MEMBER", "ADD_MODERATOR", "BAN"),
    "REMOVED": ("ADD_MEMBER", "ADD_MODERATOR", "BAN"),
    "MEMBER": ("REMOVE_MEMBER", "ADD_MODERATOR", "BAN"),
    "MODERATOR": ("REMOVE_MODERATOR", "BAN"),
    "BANNED": ("UNBAN",),
}
"""What may be done to somebody, by what they are (protocol-tables 3.4)."""
OWNERS_ONLY = ("ADD_MODERATOR", "REMOVE_MODERATOR")


class Moderating:
    """Each message is merged by the block shard, and replayed by every other one in the same order."""

    def __init__(self, scribe: EventWriter, world: World, texts: Texts, communities: Communities) -> None:
        self._scribe = scribe
        self._world = world
        self._texts = texts
        self._communities = communities

    def _owned(self) -> Community | None:
        """A channel for which somebody may speak."""
        community = self._communities.some()
        return None if community is None or community.is_parked else community

    def _speaker(self, community: Community) -> User:
        """The owner, or one of the moderators."""
        moderators = community.moderators()
        if moderators and self._scribe.random() < 0.5:
            return self._world.by_fid[moderators[self._scribe.below(len(moderators))]]
        return community.owner

    def configure(self) -> None:
        """CHANNEL_UPDATE: the whole configuration, of which each part may be left out."""
        community = self._owned()
        if community is None:
            return
        scribe, texts = self._scribe, self._texts
        parts = {
            "name": f'"{texts.displays[scribe.below(len(texts.displays))].escaped}"',
            "description": f'"{texts.bios[scribe.below(len(texts.bios))].escaped}"',
            "imageUrl": f'"https://images.example.com/channel/{scribe.below(10_000)}.png"',
            "header": f'"https://images.example.com/header/{scribe.below(10_000)}.png"',
            "rules": '"be kind"' if scribe.random() < 0.8 else '""',
            "castingMode": f'"CASTING_MODE_{CASTING_MODES[scribe.below(4)]}"',
            "membershipMode": f'"MEMBERSHIP_MODE_{MEMBERSHIP_MODES[scribe.below(3)]}"',
        }
        kept = "".join(f',"{name}":{value}' for name, value in parts.items() if scribe.random() < 0.7)
        message = self._said(community, community.owner, "UPDATE", kept)
        self._replay(message, community.settings)
        community.settings = message

    def change_member(self) -> None:
        """CHANNEL_MEMBER: what may be done to somebody as things are."""
        community = self._owned()
        if community is None:
            return
        target = self._world.active(self._scribe.random)
        held = community.members.get(target.fid)
        state = held.value if held else "NONE"
        choices = ACTIONS[state]
        action = choices[self._scribe.below(len(choices))]
        is_owners = action in OWNERS_ONLY or state == "MODERATOR"
        author = community.owner if is_owners else self._speaker(community)
        is_full = action == "ADD_MODERATOR" and len(community.moderators()) >= MAX_MODERATORS
        if is_full or (action == "BAN" and target is community.owner):
            return
        body = f',"fid":{target.fid},"action":"CHANNEL_MEMBER_ACTION_{action}"'
        message = self._said(community, author, "MEMBER", body, STATES[action])
        self._replay(message, held)
        community.members[target.fid] = message

    def pin(self) -> None:
        """CHANNEL_PIN of a recent cast or of none; or a pin that was replaced comes once more, and wins again."""
        community = self._owned()
        if community is None or not self._world.casts:
            return
        replaced = community.replaced_pin
        if replaced is not None and replaced.fid == community.owner.fid and self._scribe.random() < 0.2:
            self._set_pin(community, replaced)
            return
        is_unpin = community.pin is not None and community.pin.value != "0x" and self._scribe.random() < 0.3
        cast_hash = "0x" if is_unpin else self._recent_cast()
        speaker = self._speaker(community)
        self._set_pin(community, self._said(community, speaker, "PIN", f',"castHash":"{cast_hash}"', cast_hash))

    def _set_pin(self, community: Community, message: Stored) -> None:
        self._replay(message, community.pin)
        community.pin, community.replaced_pin = message, community.pin

    def moderate(self) -> None:
        """CHANNEL_MODERATE of a cast, which nobody checks to exist; or a hidden one is shown again."""
        community = self._owned()
        if community is None or not self._world.casts:
            return
        hidden = [cast_hash for cast_hash, held in community.moderations.items() if held.value == "HIDE"]
        action = "UNHIDE" if hidden and self._scribe.random() < 0.3 else "HIDE"
        fresh = self._scribe.hex(20) if self._scribe.random() < 0.1 else self._recent_cast()
        cast_hash = hidden[0] if action == "UNHIDE" else fresh
        body = f',"castHash":"{cast_hash}","action":"CHANNEL_MODERATE_ACTION_{action}"'
        message = self._said(community, self._speaker(community), "MODERATE", body, action)
        self._replay(message, community.moderations.get(cast_hash))
        community.moderations[cast_hash] = message

    def _recent_cast(self) -> str:
        casts = self._world.casts
        return casts[self._scribe.below(len(casts))].hash

    def _said(self, community: Community, author: User, kind: str, body: str, value: str = "") -> Stored:
        name = f"channel{kind.title()}Body"
        content = f'"{name}":{{"channelId":"{community.channel_id}"{body}}}'
        return self._scribe.message(author, f"CHANNEL_{kind}", self._scribe.moment(), content, value=value)

    def _replay(self, message: Stored, held: Stored | None) -> None:
        body = f'"mergeMessageBody":{{"message":{message.json},"deletedMessages":[{held.json if held else ""}]}}'
        self._scribe.everywhere(self._world, "MERGE_MESSAGE", body)
