"""What a node that had read a log up to some height would have in its files, written in its layout.

What is live follows from the sample hub's plain model of a trie; each live leaf is of a message or event of the log.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from fc_pipeline.hub.message_values import values_in
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, height_of
from fc_pipeline.node_db.records import CONTRACT_BODIES
from fc_pipeline.proof.leaf_keys import CONTRACT_EVENT_TYPES, MESSAGE_TYPES
from fc_pipeline.proof.message_schema import BODIES, Writing, encoded, encoded_data
from fc_pipeline.proof.protobuf import bytes_field, number_field
from fc_pipeline.sample_hub.leaf_state import LeafModel
from fc_pipeline_tests.support.node_writer import NodeWriter

__all__ = ["node_of_log"]

_WRITINGS = tuple(Writing(*choices) for choices in product((False, True), repeat=3))
_KINDS = {number << 3: kind for kind, number in MESSAGE_TYPES.items()}


class _Shard:
    """One shard up to a height: its live leaves, and of what each is."""

    def __init__(self) -> None:
        self.model = LeafModel()
        self.messages: dict[bytes, Any] = {}
        self.events: dict[bytes, Any] = {}
        self.proofs: dict[str, Any] = {}
        self.height = 0
        self.unix = 0

    def take(self, event: dict[str, Any]) -> None:
        self.height = height_of(event["id"])
        if block := event.get("blockConfirmedBody"):
            self.unix = FARCASTER_EPOCH_UNIX + block["timestamp"]
            return
        self.model.fold(event)
        for name in ("mergeMessageBody", "mergeUsernameProofBody"):
            body = event.get(name) or {}
            message = body.get("message") or body.get("usernameProofMessage")
            if message:
                self.messages[bytes.fromhex(message["hash"][2:])] = message
            if (proof := body.get("usernameProof")) and proof["type"] == "USERNAME_TYPE_FNAME":
                self.proofs[proof["name"]] = proof
        if chain := event.get("mergeOnChainEventBody"):
            told = chain["onChainEvent"]
            self.events[bytes.fromhex(told["transactionHash"][2:]) + told["logIndex"].to_bytes(4, "big")] = told


def node_of_log(lines: Iterable[bytes], path: Path, heights: Mapping[int, int]) -> dict[int, bytes]:
    """Write a node's folder as of these heights; the root of each shard."""
    shards: dict[int, _Shard] = defaultdict(_Shard)
    for line in lines:
        event = msgspec.json.decode(line)
        shard = event.get("shardIndex", 1)
        if height_of(event["id"]) <= heights[shard]:
            try:
                shards[shard].take(event)
            except (KeyError, TypeError, ValueError):  # of a type that nobody knows
                continue
    return {number: _written(number, one, path) for number, one in sorted(shards.items())}


def _written(number: int, shard: _Shard, path: Path) -> bytes:
    writer = NodeWriter(path / f"shard-{number}", number, shard.height, shard.unix)
    seen: set[bytes] = set()
    for key in sorted(shard.model.keys):
        leaf, fid = key[5:], int.from_bytes(key[1:5], "big")
        writer.leaf(fid, leaf)
        if leaf[0] < 7:
            _put_event(writer, shard.events[leaf[1:]])
        elif leaf[0] > 7 and leaf[1:] not in seen:
            seen.add(leaf[1:])
            _put_message(writer, _KINDS[leaf[0]], shard.messages[leaf[1:]])
    for proof in shard.proofs.values():
        fields = BODIES["USERNAME_PROOF"].fields
        writer.put(b"\x0b" + proof["name"].encode(), encoded(fields, values_in(fields, proof), Writing()))
    return writer.finish()


def _put_message(writer: NodeWriter, kind: str, message: Any) -> None:
    data = message["data"]
    body = values_in(BODIES[kind].fields, data[_body_name(kind, data)])
    digest = bytes.fromhex(message["hash"][2:])
    for network, writing in product((1, 2, 3), _WRITINGS):
        signed = encoded_data(kind, data["fid"], data["timestamp"], network, body, writing)
        if blake3(signed).digest(20) == digest:
            writer.stored(kind, data["fid"], data["timestamp"], signed, message, body)
            return
    raise ValueError(f"no writing of {message} has its hash")


def _body_name(kind: str, data: Mapping[str, Any]) -> str:
    name = BODIES[kind].name
    return name if name in data else next(other for other in data if other.endswith("Body") and data[other])


def _put_event(writer: NodeWriter, event: Any) -> None:
    number = CONTRACT_EVENT_TYPES[event["type"].removeprefix("EVENT_TYPE_")]
    _, schema = CONTRACT_BODIES[number]
    body = encoded(schema.fields, values_in(schema.fields, event[schema.name]), Writing())
    transaction = bytes.fromhex(event["transactionHash"][2:])
    value = b"".join(
        (
            number_field(1, number),
            number_field(2, event["chainId"]),
            number_field(3, event["blockNumber"]),
            bytes_field(4, bytes.fromhex(event["blockHash"][2:])),
            number_field(5, event["blockTimestamp"]),
            bytes_field(6, transaction),
            number_field(7, event["logIndex"]),
            number_field(8, event["fid"]),
            bytes_field(schema.number, body),
            number_field(13, event.get("txIndex", 0)),
        )
    )
    fid4 = (event["fid"] & 0xFFFFFFFF).to_bytes(4, "big")
    place = event["blockNumber"].to_bytes(4, "big") + event["logIndex"].to_bytes(4, "big")
    writer.put(b"\x0c\x01" + bytes((number,)) + fid4 + place, value)
    if number == CONTRACT_EVENT_TYPES["ID_REGISTER"]:
        writer.put(b"\x0c\x34" + fid4, b"")
