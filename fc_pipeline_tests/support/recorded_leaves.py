"""The live records of a recorded node's shards, by a plain model of its feed, and what it told over gRPC.

Independent of the fold: the rules of node-db 3.6, event by event, as a set of trie keys.
"""

import base64
import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fc_pipeline.proof.leaf_keys import (
    CONTRACT_EVENT_TYPES,
    MESSAGE_TYPES,
    contract_event_leaf,
    fid_prefix,
    fname_leaf,
    message_leaf,
)
from fc_pipeline_tests.support.recorded_node import recorded_feed

__all__ = ["GrpcCall", "LeafModel", "gasless_leaves", "recorded_grpc", "recorded_leaves"]


@dataclass
class LeafModel:
    """Trie keys after some events of one shard, given in the order of their ids."""

    keys: set[bytes] = field(default_factory=set)
    links: dict[str, Any] = field(default_factory=dict)
    compact_states: dict[tuple[int, str], Any] = field(default_factory=dict)
    name_holders: dict[str, int] = field(default_factory=dict)

    def fold(self, event: dict[str, Any]) -> None:
        if body := event.get("mergeMessageBody"):
            for deleted in body["deletedMessages"]:
                self._drop(deleted)
            self._merge(body["message"])
        elif body := event.get("pruneMessageBody") or event.get("revokeMessageBody"):
            self._drop(body["message"])
        elif body := event.get("mergeOnChainEventBody"):
            self._contract_event(body["onChainEvent"])
        elif body := event.get("mergeUsernameProofBody"):
            self._prove(body)

    def _merge(self, message: dict[str, Any]) -> None:
        kind = message["data"]["type"]
        if kind.endswith("LINK_COMPACT_STATE"):
            self._compact(message)
        elif kind.endswith(("LINK_ADD", "LINK_REMOVE")):
            self.links[message["hash"]] = message
        self.keys.update(_message_keys(message))

    def _drop(self, message: dict[str, Any]) -> None:
        self.keys.difference_update(_message_keys(message))
        self.links.pop(message["hash"], None)

    def _compact(self, message: dict[str, Any]) -> None:
        data = message["data"]
        body = data["linkCompactStateBody"]
        if former := self.compact_states.get((data["fid"], body["type"])):
            self._drop(former)
        self.compact_states[data["fid"], body["type"]] = message
        for link in list(self.links.values()):
            is_of_it = link["data"]["fid"] == data["fid"] and link["data"]["linkBody"]["type"] == body["type"]
            is_listed = link["data"]["linkBody"]["targetFid"] in body["targetFids"]
            is_add = link["data"]["type"].endswith("LINK_ADD")
            if is_of_it and link["data"]["timestamp"] <= data["timestamp"] and not (is_add and is_listed):
                self._drop(link)

    def _contract_event(self, event: dict[str, Any]) -> None:
        kind = CONTRACT_EVENT_TYPES[event["type"].removeprefix("EVENT_TYPE_")]
        leaf = contract_event_leaf(kind, bytes.fromhex(event["transactionHash"][2:]), event["logIndex"])
        self.keys.add(fid_prefix(event["fid"]) + leaf)

    def _prove(self, body: dict[str, Any]) -> None:
        """A signed proof is a message like others; an fname's is none."""
        if deleted := body.get("deletedUsernameProofMessage"):
            self._drop(deleted)
        if message := body.get("usernameProofMessage"):
            self.keys.update(_message_keys(message))
        proof = body.get("usernameProof")
        if proof and proof["type"] == "USERNAME_TYPE_FNAME":
            self._fname(proof["name"], proof["fid"])

    def _fname(self, name: str, fid: int) -> None:
        if fid:
            self.keys.add(fid_prefix(fid) + fname_leaf(name))
        if former := self.name_holders.get(name):
            self.keys.discard(fid_prefix(former) + fname_leaf(name))
        self.name_holders[name] = fid


def _message_keys(message: dict[str, Any]) -> list[bytes]:
    data = message["data"]
    leaf = message_leaf(
        MESSAGE_TYPES[data["type"].removeprefix("MESSAGE_TYPE_")], bytes.fromhex(message["hash"].removeprefix("0x"))
    )
    borrower = data.get("lendStorageBody")
    return [fid_prefix(fid) + leaf for fid in (data["fid"], *([borrower["toFid"]] if borrower else []))]


def recorded_leaves(fixtures: Path, shard: int) -> set[bytes]:
    """The keys of a shard at the end of its recorded feed, without those of gasless keys, which no feed has."""
    model = LeafModel()
    for _, events in sorted(recorded_feed(fixtures, shard).items()):
        for event in events:
            model.fold(json.loads(event))
    return model.keys


def gasless_leaves(fixtures: Path, shard: int) -> set[bytes]:
    """The keys of KEY_ADDs and KEY_REMOVEs, as the node's trie has them."""
    paths = json.loads((fixtures / "snapchain" / "gasless_leaves.json").read_text())[str(shard)]
    return {bytes.fromhex("".join(f"{nibble:x}" for nibble in bytes.fromhex(path))) for path in paths}


@dataclass(frozen=True)
class GrpcCall:
    method: str
    request: bytes
    response: bytes | None
    error: str | None


def recorded_grpc(fixtures: Path) -> list[GrpcCall]:
    """Every recorded gRPC call of the node, as raw protobuf."""
    with gzip.open(fixtures / "snapchain" / "grpc.ndjson.gz", "rt") as lines:
        return [
            GrpcCall(
                call["call"],
                base64.b64decode(call["request"]),
                base64.b64decode(call["response"]) if "response" in call else None,
                call["error"][0] if "error" in call else None,
            )
            for call in map(json.loads, lines)
        ]
