"""Bodies of the messages about channels, which protocol V21 brought (protocol-tables 3.3)."""

from msgspec import Struct

from fc_pipeline.hub.numbers import Fid

__all__ = ["ChannelMemberBody", "ChannelModerateBody", "ChannelPinBody", "ChannelUpdateBody"]


class ChannelUpdateBody(Struct, gc=False):
    """A channel's whole configuration: what is absent is unset, and "" is not absent."""

    channelId: str
    name: str | None = None
    description: str | None = None
    imageUrl: str | None = None
    header: str | None = None
    rules: str | None = None
    castingMode: str | None = None
    membershipMode: str | None = None


class ChannelMemberBody(Struct, gc=False):
    """`fid` is whom the action is about."""

    channelId: str
    fid: Fid
    action: str


class ChannelPinBody(Struct, gc=False):
    """`castHash` "0x" pins nothing."""

    channelId: str
    castHash: str = ""


class ChannelModerateBody(Struct, gc=False):
    channelId: str
    castHash: str
    action: str
