"""Stored messages → what the hub's JSON of them decodes into (hub.wire), without the JSON (node-db 2.2, 5).

Casts, reactions, links, user data and verifications, of which there are hundreds of millions, are read field by field;
others by way of their JSON.
"""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from blake3 import blake3
from google.protobuf.message import DecodeError

from fc_pipeline.base58 import base58
from fc_pipeline.hub.decode import DECODE_ERRORS
from fc_pipeline.hub.grpc_messages import message_json
from fc_pipeline.hub.wire import (
    CastAddBody,
    CastId,
    CastRemoveBody,
    LinkBody,
    LinkCompactStateBody,
    Message,
    MessageData,
    ReactionBody,
    UserDataBody,
    VerificationAddBody,
    VerificationRemoveBody,
)
from fc_pipeline.node_db.message_classes import MESSAGE, MESSAGE_DATA
from fc_pipeline.proof.leaf_keys import HASH_BYTES, MESSAGE_TYPES
from fc_pipeline.proof.message_schema import BODIES
from fc_pipeline.proof.protobuf import Malformed

__all__ = ["StoredMessage", "message_of"]

_MAX_BIGINT: Final = 2**63 - 1
_MAX_POSITION: Final = 2**31 - 1
_MAX_SECONDS: Final = 2**32 - 1
_FROM_JSON: Final = msgspec.json.Decoder(Message)
_TO_JSON: Final = msgspec.json.Encoder()
_NO_EMBEDS: Final = msgspec.Raw(b"[]")


class StoredMessage(NamedTuple):
    """A row's message: its type's number, its hash, its FID, and what the hub's JSON of it decodes into.

    None in place of that where it is of no known type or holds what no column can, with the reason as `refusal`;
    `has_nul`: a text has U+0000, which Postgres cannot hold.
    """

    number: int
    hash: bytes
    fid: int
    message: Message | None
    has_nul: bool = False
    refusal: ValueError | None = None


class _Unusual(Exception):
    """Something in a message that only its JSON's decoder judges."""


def message_of(value: bytes) -> StoredMessage:
    """The message of a row. Raises Malformed for one whose bytes are not what its hash says, or that is none."""
    try:
        envelope = MESSAGE.FromString(value)
        signed: bytes = envelope.data_bytes or envelope.data
        data = MESSAGE_DATA.FromString(signed)
    except DecodeError as error:
        raise Malformed(f"no message: {error}") from error
    if blake3(signed).digest(HASH_BYTES) != envelope.hash:
        raise Malformed(f"message 0x{envelope.hash.hex()} has not the content of which that is the hash")
    number: int = data.type
    reader = _READERS.get(number)
    fid, timestamp = data.fid, data.timestamp
    if reader is None or fid > _MAX_BIGINT or timestamp > _MAX_SECONDS or not data.HasField(reader[1]):
        return _from_json(number, envelope.hash, fid, value)
    kind, body_name, read = reader
    try:
        texts, body = read(getattr(data, body_name))
    except (_Unusual, UnicodeDecodeError):
        return _from_json(number, envelope.hash, fid, value)
    message = Message(
        MessageData(kind, fid, timestamp, **{body_name: body}),
        f"0x{envelope.hash.hex()}",
        b64encode(envelope.signature).decode(),
        f"0x{envelope.signer.hex()}",
    )
    return StoredMessage(number, envelope.hash, fid, message, "\0" in texts)


def _from_json(number: int, message_hash: bytes, fid: int, value: bytes) -> StoredMessage:
    try:
        raw = message_json(value)
        return StoredMessage(number, message_hash, fid, _FROM_JSON.decode(raw), b"\\u0000" in raw)
    except DECODE_ERRORS as error:
        return StoredMessage(number, message_hash, fid, None, refusal=ValueError(str(error)))
    except Malformed as error:
        return StoredMessage(number, message_hash, fid, None, refusal=error)


def _named(names: tuple[str, ...] | None, number: int) -> str:
    if names is None or number >= len(names) or not names[number]:
        raise _Unusual
    return names[number]


def _names_of(kind: str, name: str) -> tuple[str, ...] | None:
    return next(field.names for field in BODIES[kind].fields if field.name == name)


_CAST_TYPES: Final = _names_of("CAST_ADD", "type")
_REACTION_TYPES: Final = _names_of("REACTION_ADD", "type")
_USER_DATA_TYPES: Final = _names_of("USER_DATA_ADD", "type")
_PROTOCOLS: Final = _names_of("VERIFICATION_ADD_ETH_ADDRESS", "protocol")
_SOLANA: Final = "PROTOCOL_SOLANA"

_Read = tuple[str, Any]
"""The texts of a body, joined, and the body."""


def _cast_id(told: Any) -> CastId:
    if told.fid > _MAX_BIGINT:
        raise _Unusual
    return CastId(told.fid, f"0x{told.hash.hex()}")


def _cast_add(body: Any) -> _Read:
    text: str = body.text
    parent_url: str | None = body.parentUrl if body.HasField("parentUrl") else None
    mentions = list(body.mentions)
    positions = list(body.mentionsPositions)
    deprecated = list(body.embedsDeprecated)
    if mentions and (max(mentions) > _MAX_BIGINT or max(positions, default=0) > _MAX_POSITION):
        raise _Unusual
    embeds = _NO_EMBEDS
    urls = ""
    if body.embeds:
        told = [_embed(one) for one in body.embeds]
        embeds = msgspec.Raw(_TO_JSON.encode(told))
        urls = "".join(str(one["url"]) for one in told if "url" in one)
    cast = CastAddBody(
        text,
        embeds,
        deprecated,
        mentions,
        positions,
        _cast_id(body.parentCastId) if body.HasField("parentCastId") else None,
        parent_url,
        _named(_CAST_TYPES, body.type),
    )
    return f"{text}{parent_url or ''}{urls}{''.join(deprecated)}", cast


def _embed(told: Any) -> dict[str, Any]:
    if told.HasField("castId"):
        if told.HasField("url"):
            raise _Unusual
        return {"castId": {"fid": told.castId.fid, "hash": f"0x{told.castId.hash.hex()}"}}
    return {"url": told.url} if told.HasField("url") else {}


def _cast_remove(body: Any) -> _Read:
    return "", CastRemoveBody(b64encode(body.targetHash).decode())


def _reaction(body: Any) -> _Read:
    kind = _named(_REACTION_TYPES, body.type)
    if body.HasField("targetCastId"):
        if body.HasField("targetUrl"):
            raise _Unusual
        return "", ReactionBody(kind, _cast_id(body.targetCastId))
    url: str | None = body.targetUrl if body.HasField("targetUrl") else None
    return url or "", ReactionBody(kind, None, url)


def _link(body: Any) -> _Read:
    kind: str = body.type
    shown = body.displayTimestamp if body.HasField("displayTimestamp") else None
    if body.targetFid > _MAX_BIGINT or (shown or 0) > _MAX_SECONDS or not body.HasField("targetFid"):
        raise _Unusual
    return kind, LinkBody(kind, body.targetFid, shown)


def _compact_state(body: Any) -> _Read:
    targets = list(body.targetFids)
    if targets and max(targets) > _MAX_BIGINT:
        raise _Unusual
    return body.type, LinkCompactStateBody(body.type, targets)


def _user_data(body: Any) -> _Read:
    value: str = body.value
    return value, UserDataBody(_named(_USER_DATA_TYPES, body.type), value)


def _verification_add(body: Any) -> _Read:
    protocol = _named(_PROTOCOLS, body.protocol)
    is_solana = protocol == _SOLANA
    if max(body.chainId, body.type) > _MAX_POSITION:
        raise _Unusual
    return "", VerificationAddBody(
        _address(body.address, is_solana=is_solana),
        b64encode(body.claimSignature).decode(),
        "",
        _address(body.blockHash, is_solana=is_solana),
        body.type,
        0,
        body.chainId,
        protocol,
    )


def _verification_remove(body: Any) -> _Read:
    protocol = _named(_PROTOCOLS, body.protocol)
    return "", VerificationRemoveBody(_address(body.address, is_solana=protocol == _SOLANA), protocol)


def _address(address: bytes, *, is_solana: bool) -> str:
    return base58(address) if is_solana else f"0x{address.hex()}"


_BODY_READERS: Final[dict[str, Callable[[Any], _Read]]] = {
    "CAST_ADD": _cast_add,
    "CAST_REMOVE": _cast_remove,
    "REACTION_ADD": _reaction,
    "REACTION_REMOVE": _reaction,
    "LINK_ADD": _link,
    "LINK_REMOVE": _link,
    "LINK_COMPACT_STATE": _compact_state,
    "USER_DATA_ADD": _user_data,
    "VERIFICATION_ADD_ETH_ADDRESS": _verification_add,
    "VERIFICATION_REMOVE": _verification_remove,
}
_READERS: Final = {
    MESSAGE_TYPES[kind]: (f"MESSAGE_TYPE_{kind}", BODIES[kind].name, read) for kind, read in _BODY_READERS.items()
}
