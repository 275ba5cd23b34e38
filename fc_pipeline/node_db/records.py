"""Stored contract events, proofs of names and gasless keys → what the hub's JSON of them decodes into (hub.wire)."""

from typing import Any, Final, TypeVar

import msgspec

from fc_pipeline.hub.decode import DECODE_ERRORS
from fc_pipeline.hub.grpc_messages import in_json
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, Signer, UsernameProof
from fc_pipeline.proof.leaf_keys import CONTRACT_EVENT_TYPES, MESSAGE_TYPES
from fc_pipeline.proof.message_schema import BODIES, BodySchema, Field, Form, read_schema
from fc_pipeline.proof.protobuf import Malformed, bytes_in, last_fields, number_in

__all__ = ["CONTRACT_BODIES", "contract_event_json", "decoded", "gasless_key", "gasless_key_hash", "name_proof"]

T = TypeVar("T")

_NONE_ADD_REMOVE: Final = ("NONE", "ADD", "REMOVE", "ADMIN_RESET")
_SIGNER: Final = (
    Field(1, "key", Form.HEX),
    Field(2, "keyType", Form.NUMBER),
    Field(3, "eventType", tuple(f"SIGNER_EVENT_TYPE_{name}" for name in _NONE_ADD_REMOVE)),
    Field(4, "metadata", Form.BASE64),
    Field(5, "metadataType", Form.NUMBER),
)
_ID_REGISTER: Final = (
    Field(1, "to", Form.HEX),
    Field(2, "eventType", ("None", "Register", "Transfer", "ChangeRecovery")),
    Field(3, "from", Form.HEX),
    Field(4, "recoveryAddress", Form.HEX),
)
_STORAGE_RENT: Final = (
    Field(1, "payer", Form.HEX),
    Field(2, "units", Form.NUMBER),
    Field(3, "expiry", Form.NUMBER),
)
_TIER_PURCHASE: Final = (
    Field(3, "payer", Form.HEX),
    Field(2, "for_days", Form.NUMBER),
    Field(1, "tier_type", ("None", "Pro")),
)
_CHANNEL_REGISTER: Final = (
    Field(1, "channelKey", Form.TEXT),
    Field(2, "expiry", Form.NUMBER),
    Field(3, "ownerAddress", Form.HEX),
    Field(4, "eventType", tuple(f"CHANNEL_REGISTER_EVENT_TYPE_{n}" for n in ("NONE", "REGISTER", "RENEW", "TRANSFER"))),
    Field(5, "label", Form.HEX),
)
CONTRACT_BODIES: Final = {
    BodySchema(CONTRACT_EVENT_TYPES[kind], number, name, fields).message_type: (
        f"EVENT_TYPE_{kind}",
        BodySchema(CONTRACT_EVENT_TYPES[kind], number, name, fields),
    )
    for kind, number, name, fields in (
        ("SIGNER", 9, "signerEventBody", _SIGNER),
        ("SIGNER_MIGRATED", 10, "signerMigratedEventBody", (Field(1, "migratedAt", Form.NUMBER),)),
        ("ID_REGISTER", 11, "idRegisterEventBody", _ID_REGISTER),
        ("STORAGE_RENT", 12, "storageRentEventBody", _STORAGE_RENT),
        ("TIER_PURCHASE", 15, "tier_purchase_event_body", _TIER_PURCHASE),
        ("CHANNEL_REGISTER", 16, "channelRegisterEventBody", _CHANNEL_REGISTER),
    )
}
_PROOF_FIELDS: Final = BODIES["USERNAME_PROOF"].fields
_KEY_ADD: Final = MESSAGE_TYPES["KEY_ADD"]
_KEY_ADD_BODY: Final = 19
_SCOPES: Final = {number: f"MESSAGE_TYPE_{kind}" for kind, number in MESSAGE_TYPES.items()}
_SECONDS_BYTES: Final = 4


def contract_event_json(value: bytes) -> bytes:
    """A contract event's JSON. Raises Malformed for what is none, or of a type that is not known."""
    event = last_fields(value)
    kind, schema = CONTRACT_BODIES.get(number_in(event, 1), (None, None))
    if kind is None or schema is None:
        raise Malformed(f"a contract event of type {number_in(event, 1)}")
    return msgspec.json.encode(
        {
            "type": kind,
            "chainId": number_in(event, 2),
            "blockNumber": number_in(event, 3),
            "blockHash": f"0x{bytes_in(event, 4).hex()}",
            "blockTimestamp": number_in(event, 5),
            "transactionHash": f"0x{bytes_in(event, 6).hex()}",
            "logIndex": number_in(event, 7),
            "fid": number_in(event, 8),
            schema.name: in_json(schema.fields, read_schema(schema.fields, bytes_in(event, schema.number))),
            "txIndex": number_in(event, 13),
            "version": number_in(event, 14),
        }
    )


def name_proof(value: bytes) -> UsernameProof:
    """A proof of a name, an fname's; its FID is 0 where the name was released. Raises ValueError."""
    return decoded(msgspec.json.encode(in_json(_PROOF_FIELDS, read_schema(_PROOF_FIELDS, value))), UsernameProof)


def gasless_key_hash(record: bytes) -> bytes:
    """The hash of the KEY_ADD in a gasless key's record. Raises Malformed."""
    return bytes_in(last_fields(bytes_in(last_fields(record), 1)), 2)


def gasless_key(record: bytes, last_used: bytes | None) -> Signer:
    """A gasless key's record and when it was used last → as a hub lists it. Raises ValueError for what is none."""
    fields = last_fields(record)
    envelope = last_fields(bytes_in(fields, 1))
    data = last_fields(bytes_in(envelope, 7) or bytes_in(envelope, 1))
    if number_in(data, 1) != _KEY_ADD:
        raise Malformed(f"a gasless key added by a message of type {number_in(data, 1)}")
    body = read_schema(_KEY_ADD_FIELDS, bytes_in(data, _KEY_ADD_BODY))
    added_at = FARCASTER_EPOCH_UNIX + number_in(data, 3)
    used = int.from_bytes(last_used, "big") if last_used and len(last_used) == _SECONDS_BYTES else None
    last_used_at = added_at if used is None else FARCASTER_EPOCH_UNIX + used
    told: dict[str, Any] = {
        "source": "SIGNER_SOURCE_OFFCHAIN",
        "key": f"0x{body['key'].hex()}",
        "fid": number_in(data, 2),
        "keyType": body["keyType"],
        "addedAt": added_at,
        "lastUsedAt": last_used_at,
        "ttl": body["ttl"],
        "expiresAt": last_used_at + body["ttl"],
        "scopes": [_SCOPES.get(number, str(number)) for number in body["scopes"]],
        "requestFid": number_in(fields, 2),
        "nonce": body["nonce"],
    }
    return decoded(msgspec.json.encode(told), Signer)


_KEY_ADD_FIELDS: Final = (
    Field(1, "key", Form.HEX),
    Field(2, "keyType", Form.NUMBER),
    Field(5, "nonce", Form.NUMBER),
    Field(9, "scopes", Form.NUMBER, is_repeated=True),
    Field(10, "ttl", Form.NUMBER),
)


def decoded(raw: bytes, kind: type[T]) -> T:
    """A record's JSON as the wire's type. Raises ValueError."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except DECODE_ERRORS as error:
        raise ValueError(str(error)) from error
