"""A message's JSON, as hubs write it (hub-api 4.2), → the protobuf that they have of it over gRPC."""

from base64 import b64decode
from typing import Final

import msgspec

from fc_pipeline.hub.message_values import values_in
from fc_pipeline.proof.message_schema import BODIES, Writing, encoded_data
from fc_pipeline.proof.messages import NETWORKS
from fc_pipeline.proof.protobuf import bytes_field, number_field

__all__ = ["message_bytes"]

_ANY: Final = msgspec.json.Decoder()


def message_bytes(raw: bytes) -> bytes:
    """A Message of its JSON. Raises KeyError, TypeError and ValueError for one that is not as hubs write it."""
    message = _ANY.decode(raw)
    data = message["data"]
    kind = data["type"].removeprefix("MESSAGE_TYPE_")
    schema = BODIES[kind]
    network = NETWORKS[data["network"].removeprefix("FARCASTER_NETWORK_").lower()]
    body = values_in(schema.fields, data[schema.name])
    return b"".join(
        (
            bytes_field(1, encoded_data(kind, data["fid"], data["timestamp"], network, body, Writing())),
            bytes_field(2, _hex_bytes(message["hash"])),
            number_field(3, 1),
            bytes_field(4, b64decode(message["signature"])),
            number_field(5, 1),
            bytes_field(6, _hex_bytes(message["signer"])),
        )
    )


def _hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
