"""Signed messages as gRPC has them → the JSON that the hub's HTTP API writes of them (hub-api 4.2).

So what only gRPC lists (removes, compact states, lends) is decoded, kept and folded as what the feed brings.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fc_pipeline.base58 import base58
from fc_pipeline.proof.message_schema import BODIES, Field, Form, read_schema
from fc_pipeline.proof.protobuf import Malformed, bytes_in, last_fields, number_in

__all__ = ["in_json", "message_json", "message_kind"]

_NETWORKS: Final = {
    number: f"FARCASTER_NETWORK_{name}" for number, name in ((1, "MAINNET"), (2, "TESTNET"), (3, "DEVNET"))
}
_KINDS: Final = {schema.message_type: kind for kind, schema in BODIES.items()}
_SOLANA: Final = "PROTOCOL_SOLANA"


def message_kind(message: bytes) -> str | None:
    """A Message's type by its name on the wire without `MESSAGE_TYPE_`; None for one that no by-FID call lists.

    Raises Malformed.
    """
    envelope = last_fields(message)
    return _KINDS.get(number_in(last_fields(bytes_in(envelope, 7) or bytes_in(envelope, 1)), 1))


def message_json(message: bytes) -> bytes:
    """A Message's JSON. Raises Malformed for what is none, or of a type that no by-FID call lists."""
    envelope = last_fields(message)
    data = last_fields(bytes_in(envelope, 7) or bytes_in(envelope, 1))
    kind = _KINDS.get(number_in(data, 1))
    if kind is None:
        raise Malformed(f"a message of type {number_in(data, 1)}")
    schema = BODIES[kind]
    network = number_in(data, 4)
    return msgspec.json.encode(
        {
            "data": {
                "type": f"MESSAGE_TYPE_{kind}",
                "fid": number_in(data, 2),
                "timestamp": number_in(data, 3),
                "network": _NETWORKS.get(network, network),
                schema.name: in_json(schema.fields, read_schema(schema.fields, bytes_in(data, schema.number))),
            },
            "hash": _hex(bytes_in(envelope, 2)),
            "hashScheme": "HASH_SCHEME_BLAKE3" if number_in(envelope, 3) == 1 else "HASH_SCHEME_NONE",
            "signature": _base64(bytes_in(envelope, 4)),
            "signatureScheme": "SIGNATURE_SCHEME_ED25519" if number_in(envelope, 5) == 1 else "SIGNATURE_SCHEME_NONE",
            "signer": _hex(bytes_in(envelope, 6)),
        }
    )


def in_json(fields: Sequence[Field], values: Mapping[str, Any]) -> dict[str, Any]:
    """A body; of a oneof's members only the one that is set, as of everything that may be absent."""
    is_solana = values.get("protocol") == _SOLANA
    found: dict[str, Any] = {}
    for field in fields:
        value = values[field.name]
        if value is None:
            continue
        found[field.name] = (
            [_value(field, one, is_solana) for one in value] if field.is_repeated else _value(field, value, is_solana)
        )
    return found


def _value(field: Field, value: Any, is_solana: bool) -> Any:
    if field.fields is not None:
        return in_json(field.fields, value)
    if field.kind is Form.BASE64:
        return _base64(value)
    if field.kind is Form.ADDRESS and is_solana:
        return base58(value)
    return _hex(value) if field.kind in (Form.HEX, Form.ADDRESS) else value


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _base64(value: bytes) -> str:
    return b64encode(value).decode()
