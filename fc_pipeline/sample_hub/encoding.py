"""A message's JSON, as hubs write it (hub-api 4.2), → the protobuf that they have of it over gRPC."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fc_pipeline.base58 import base58_bytes
from fc_pipeline.proof.message_schema import BODIES, Field, Form, Writing, encoded_data
from fc_pipeline.proof.messages import NETWORKS
from fc_pipeline.proof.protobuf import bytes_field, number_field

__all__ = ["message_bytes"]

_ANY: Final = msgspec.json.Decoder()
_WRITING: Final = Writing()
_SOLANA: Final = "PROTOCOL_SOLANA"
_UNIT_TYPES: Final = {
    "UnitTypeLegacy": "UNIT_TYPE_LEGACY",
    "UnitType2024": "UNIT_TYPE_2024",
    "UnitType2025": "UNIT_TYPE_2025",
}


def message_bytes(raw: bytes) -> bytes:
    """A Message of its JSON. Raises KeyError, TypeError and ValueError for one that is not as hubs write it."""
    message = _ANY.decode(raw)
    data = message["data"]
    kind = data["type"].removeprefix("MESSAGE_TYPE_")
    schema = BODIES[kind]
    network = NETWORKS[data["network"].removeprefix("FARCASTER_NETWORK_").lower()]
    body = _values(schema.fields, data[schema.name])
    return b"".join(
        (
            bytes_field(1, encoded_data(kind, data["fid"], data["timestamp"], network, body, _WRITING)),
            bytes_field(2, _unhex(message["hash"])),
            number_field(3, 1),
            bytes_field(4, b64decode(message["signature"])),
            number_field(5, 1),
            bytes_field(6, _unhex(message["signer"])),
        )
    )


def _values(fields: Sequence[Field], said: Mapping[str, Any]) -> dict[str, Any]:
    is_solana = said.get("protocol") == _SOLANA
    found: dict[str, Any] = {}
    for field in fields:
        value = said.get(field.name)
        if value is not None:
            found[field.name] = (
                [_value(field, one, is_solana) for one in value]
                if field.is_repeated
                else _value(field, value, is_solana)
            )
    return found


def _value(field: Field, value: Any, is_solana: bool) -> Any:
    if field.fields is not None:
        return _values(field.fields, value)
    if field.kind is Form.BASE64:
        return b64decode(value)
    if field.kind is Form.ADDRESS and is_solana:
        return base58_bytes(value)
    if field.kind in (Form.HEX, Form.ADDRESS):
        return _unhex(value)
    return _UNIT_TYPES.get(value, value) if isinstance(value, str) else value


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
