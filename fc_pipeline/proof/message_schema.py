"""MessageData by its field numbers (node-db 5.2): values by the names they have in the hub's JSON, to and from bytes.

A value is a number, a text, bytes, the name of an enum's value, or a mapping of names to values; None and an empty list
are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Final, cast

from fc_pipeline.proof.protobuf import Malformed, Value, bytes_field, read_fields, varint

__all__ = ["BODIES", "BodySchema", "Field", "Form", "Writing", "encoded", "encoded_data", "read_schema"]

Values = Mapping[str, Any]


class Form(Enum):
    """What a field holds, and how the hub's JSON writes its bytes (hub-api 4.2)."""

    NUMBER = auto()
    TEXT = auto()
    HEX = auto()
    BASE64 = auto()
    ADDRESS = auto()
    """Hex of Ethereum, base58 of Solana."""
    UTF8 = auto()
    """Text in a field of bytes."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: a `Form`, the names of an enum's values by their numbers, or the fields of a message.

    One that `has_presence` is written whenever it is given; others may be left out where they have their default.
    """

    number: int
    name: str
    kind: "Form | tuple[str, ...] | tuple[Field, ...]"
    is_repeated: bool = False
    has_presence: bool = False

    @property
    def fields(self) -> "tuple[Field, ...] | None":
        """Those of the message that it holds."""
        if isinstance(self.kind, tuple) and isinstance(self.kind[0], Field):
            return cast("tuple[Field, ...]", self.kind)
        return None

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the enum that it holds, by number; "" where a number has none."""
        if isinstance(self.kind, tuple) and isinstance(self.kind[0], str):
            return cast("tuple[str, ...]", self.kind)
        return None


@dataclass(frozen=True, slots=True)
class BodySchema:
    """The body of a message type: its type's number, its place in MessageData, its name, and its fields.

    `fields` are in the declared order, which Rust and JavaScript write: a oneof's members at the place of its first.
    """

    message_type: int
    number: int
    name: str
    fields: tuple[Field, ...]


_CAST_ID: Final = (Field(1, "fid", Form.NUMBER), Field(2, "hash", Form.HEX))
_EMBED: Final = (
    Field(1, "url", Form.TEXT, has_presence=True),
    Field(2, "castId", _CAST_ID, has_presence=True),
)
_CAST_ADD: Final = (
    Field(1, "embedsDeprecated", Form.TEXT, is_repeated=True),
    Field(2, "mentions", Form.NUMBER, is_repeated=True),
    Field(3, "parentCastId", _CAST_ID, has_presence=True),
    Field(7, "parentUrl", Form.TEXT, has_presence=True),
    Field(4, "text", Form.TEXT),
    Field(5, "mentionsPositions", Form.NUMBER, is_repeated=True),
    Field(6, "embeds", _EMBED, is_repeated=True),
    Field(8, "type", ("CAST", "LONG_CAST", "TEN_K_CAST")),
)
_CAST_REMOVE: Final = (Field(1, "targetHash", Form.BASE64),)
_REACTION: Final = (
    Field(1, "type", ("", "REACTION_TYPE_LIKE", "REACTION_TYPE_RECAST")),
    Field(2, "targetCastId", _CAST_ID, has_presence=True),
    Field(3, "targetUrl", Form.TEXT, has_presence=True),
)
_LINK: Final = (
    Field(1, "type", Form.TEXT),
    Field(2, "displayTimestamp", Form.NUMBER, has_presence=True),
    Field(3, "targetFid", Form.NUMBER, has_presence=True),
)
_LINK_COMPACT_STATE: Final = (
    Field(1, "type", Form.TEXT),
    Field(2, "targetFids", Form.NUMBER, is_repeated=True),
)
_PROTOCOLS: Final = ("PROTOCOL_ETHEREUM", "PROTOCOL_SOLANA")
_VERIFICATION_ADD: Final = (
    Field(1, "address", Form.ADDRESS),
    Field(2, "claimSignature", Form.BASE64),
    Field(3, "blockHash", Form.ADDRESS),
    Field(4, "type", Form.NUMBER),
    Field(5, "chainId", Form.NUMBER),
    Field(7, "protocol", _PROTOCOLS),
)
_VERIFICATION_REMOVE: Final = (Field(1, "address", Form.ADDRESS), Field(2, "protocol", _PROTOCOLS))
_USER_DATA: Final = (
    Field(
        1,
        "type",
        (
            "",
            "USER_DATA_TYPE_PFP",
            "USER_DATA_TYPE_DISPLAY",
            "USER_DATA_TYPE_BIO",
            "",
            "USER_DATA_TYPE_URL",
            "USER_DATA_TYPE_USERNAME",
            "USER_DATA_TYPE_LOCATION",
            "USER_DATA_TYPE_TWITTER",
            "USER_DATA_TYPE_GITHUB",
            "USER_DATA_TYPE_BANNER",
            "USER_DATA_PRIMARY_ADDRESS_ETHEREUM",
            "USER_DATA_PRIMARY_ADDRESS_SOLANA",
            "USER_DATA_TYPE_PROFILE_TOKEN",
            "USER_DATA_TYPE_LIVE_AT",
        ),
    ),
    Field(2, "value", Form.TEXT),
)
_USERNAME_PROOF: Final = (
    Field(1, "timestamp", Form.NUMBER),
    Field(2, "name", Form.UTF8),
    Field(3, "owner", Form.HEX),
    Field(4, "signature", Form.BASE64),
    Field(5, "fid", Form.NUMBER),
    Field(6, "type", ("", "USERNAME_TYPE_FNAME", "USERNAME_TYPE_ENS_L1", "USERNAME_TYPE_BASENAME")),
)
_LEND_STORAGE: Final = (
    Field(1, "toFid", Form.NUMBER),
    Field(2, "numUnits", Form.NUMBER),
    Field(3, "unitType", ("UNIT_TYPE_LEGACY", "UNIT_TYPE_2024", "UNIT_TYPE_2025")),
)
_CHANNEL_ID: Final = Field(1, "channelId", Form.HEX)
_CHANNEL_UPDATE: Final = (
    _CHANNEL_ID,
    *(
        Field(number, name, Form.TEXT, has_presence=True)
        for number, name in enumerate(("name", "description", "imageUrl", "header", "rules"), 2)
    ),
    Field(
        7,
        "castingMode",
        ("CASTING_MODE_NONE", "CASTING_MODE_EVERYONE", "CASTING_MODE_MEMBERS_ONLY", "CASTING_MODE_RECOMMENDED"),
        has_presence=True,
    ),
    Field(
        8,
        "membershipMode",
        ("MEMBERSHIP_MODE_NONE", "MEMBERSHIP_MODE_OPEN", "MEMBERSHIP_MODE_APPROVAL"),
        has_presence=True,
    ),
)
_CHANNEL_MEMBER: Final = (
    _CHANNEL_ID,
    Field(2, "fid", Form.NUMBER),
    Field(
        3,
        "action",
        (
            "",
            "CHANNEL_MEMBER_ACTION_ADD_MEMBER",
            "CHANNEL_MEMBER_ACTION_REMOVE_MEMBER",
            "CHANNEL_MEMBER_ACTION_ADD_MODERATOR",
            "CHANNEL_MEMBER_ACTION_REMOVE_MODERATOR",
            "CHANNEL_MEMBER_ACTION_BAN",
            "CHANNEL_MEMBER_ACTION_UNBAN",
        ),
    ),
)
_CHANNEL_PIN: Final = (_CHANNEL_ID, Field(2, "castHash", Form.HEX))
_CHANNEL_MODERATE: Final = (
    _CHANNEL_ID,
    Field(2, "castHash", Form.HEX),
    Field(3, "action", ("", "CHANNEL_MODERATE_ACTION_HIDE", "CHANNEL_MODERATE_ACTION_UNHIDE")),
)

BODIES: Final = {
    "CAST_ADD": BodySchema(1, 5, "castAddBody", _CAST_ADD),
    "CAST_REMOVE": BodySchema(2, 6, "castRemoveBody", _CAST_REMOVE),
    "REACTION_ADD": BodySchema(3, 7, "reactionBody", _REACTION),
    "REACTION_REMOVE": BodySchema(4, 7, "reactionBody", _REACTION),
    "LINK_ADD": BodySchema(5, 14, "linkBody", _LINK),
    "LINK_REMOVE": BodySchema(6, 14, "linkBody", _LINK),
    "VERIFICATION_ADD_ETH_ADDRESS": BodySchema(7, 9, "verificationAddAddressBody", _VERIFICATION_ADD),
    "VERIFICATION_REMOVE": BodySchema(8, 10, "verificationRemoveBody", _VERIFICATION_REMOVE),
    "USER_DATA_ADD": BodySchema(11, 12, "userDataBody", _USER_DATA),
    "USERNAME_PROOF": BodySchema(12, 15, "usernameProofBody", _USERNAME_PROOF),
    "LINK_COMPACT_STATE": BodySchema(14, 17, "linkCompactStateBody", _LINK_COMPACT_STATE),
    "LEND_STORAGE": BodySchema(15, 18, "lendStorageBody", _LEND_STORAGE),
    "CHANNEL_UPDATE": BodySchema(18, 21, "channelUpdateBody", _CHANNEL_UPDATE),
    "CHANNEL_MEMBER": BodySchema(19, 22, "channelMemberBody", _CHANNEL_MEMBER),
    "CHANNEL_PIN": BodySchema(20, 23, "channelPinBody", _CHANNEL_PIN),
    "CHANNEL_MODERATE": BodySchema(21, 24, "channelModerateBody", _CHANNEL_MODERATE),
}
"""By the message type's name on the wire, without `MESSAGE_TYPE_`."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How a client writes a message: its fields by number or in the declared order, and what has its default.

    JavaScript clients write lists of numbers also where they are empty, others may write every default.
    """

    by_number: bool = False
    writes_defaults: bool = False
    writes_empty_numbers: bool = False


def encoded_data(kind: str, fid: int, timestamp: int, network: int, body: Values, writing: Writing) -> bytes:
    """The bytes of a MessageData; `timestamp` in Farcaster seconds. Raises ValueError for a name that no enum has."""
    schema = BODIES[kind]
    content = encoded(schema.fields, body, writing)
    return b"".join(
        (
            b"\x08",
            varint(schema.message_type),
            b"\x10",
            varint(fid),
            b"\x18",
            varint(timestamp),
            b"\x20",
            varint(network),
            bytes_field(schema.number, content),
        )
    )


def encoded(fields: Sequence[Field], values: Values, writing: Writing) -> bytes:
    """The bytes of a message with these fields. Raises ValueError for a name that no enum has."""
    parts: list[bytes] = []
    for field in sorted(fields, key=_NUMBER) if writing.by_number else fields:
        value = values.get(field.name)
        if field.is_repeated:
            if value or (writing.writes_empty_numbers and field.kind is Form.NUMBER):
                parts += _repeated(field, value or (), writing)
            continue
        if value is None:
            if field.has_presence or not writing.writes_defaults:
                continue
            written = _DEFAULT
        else:
            written = _one(field, value, writing)
        if field.has_presence or writing.writes_defaults or written != _DEFAULT:
            parts.append(_tag(field) + written)
    return b"".join(parts)


_NUMBER: Final = attrgetter("number")
_DEFAULT: Final = b"\0"
"""0, and the length of what is empty."""


def _tag(field: Field) -> bytes:
    is_number = field.kind is Form.NUMBER or field.names is not None
    return varint(field.number << 3 | (0 if is_number else 2))


def _repeated(field: Field, values: Sequence[Any], writing: Writing) -> list[bytes]:
    if field.kind is Form.NUMBER:
        return [bytes_field(field.number, b"".join(map(varint, values)))]
    return [_tag(field) + _one(field, value, writing) for value in values]


def _one(field: Field, value: Any, writing: Writing) -> bytes:
    """A value without its tag."""
    kind = field.kind
    if kind is Form.NUMBER:
        return varint(value)
    if field.names is not None:
        return varint(value if isinstance(value, int) else field.names.index(value))
    if field.fields is not None:
        content = encoded(field.fields, value, writing)
    else:
        content = value.encode() if isinstance(value, str) else value
    return varint(len(content)) + content


def read_schema(fields: Sequence[Field], message: bytes) -> dict[str, Any]:
    """The values of a message by their names; unknown fields are passed over. Raises Malformed.

    An enum's number without a name stays a number. What is left out has its default, or None where it has presence.
    """
    by_number = {field.number: field for field in fields}
    found: dict[str, Any] = {}
    for number, value in read_fields(message):
        field = by_number.get(number)
        if field is None:
            continue
        if field.is_repeated:
            found.setdefault(field.name, []).extend(_read_repeated(field, value))
        else:
            found[field.name] = _read(field, value)
    for field in fields:
        if field.name not in found:
            found[field.name] = _left_out(field)
    return found


def _left_out(field: Field) -> Any:
    if field.is_repeated:
        return []
    if field.has_presence:
        return None
    return _read(field, 0 if field.kind is Form.NUMBER or field.names is not None else b"")


def _read_repeated(field: Field, value: Value) -> list[Any]:
    if field.kind is not Form.NUMBER or isinstance(value, int):
        return [_read(field, value)]
    # Packed numbers are those of a message without tags.
    numbers: list[int] = []
    at = 0
    while at < len(value):
        end = at
        while end < len(value) and value[end] > 127:
            end += 1
        numbers += [content for _, content in read_fields(b"\x08" + value[at : end + 1]) if isinstance(content, int)]
        at = end + 1
    return numbers


def _read(field: Field, value: Value) -> Any:
    names = field.names
    if field.kind is Form.NUMBER or names is not None:
        if not isinstance(value, int):
            raise Malformed(f"{field.name} is no number")
        return names[value] if names is not None and value < len(names) and names[value] else value
    if not isinstance(value, bytes):
        raise Malformed(f"{field.name} is a number")
    if field.fields is not None:
        return read_schema(field.fields, value)
    if field.kind in (Form.TEXT, Form.UTF8):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"{field.name} is no UTF-8") from error
    return value
