"""The live records of a recorded node's shards, by a plain model of its feed, and what it told over gRPC.

By the sample hub's model, which is independent of the fold: the rules of node-db 3.6, event by event.
"""

import base64
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

from fc_pipeline.sample_hub.leaf_state import LeafModel
from fc_pipeline_tests.support.recorded_node import recorded_feed

__all__ = ["GrpcCall", "gasless_leaves", "recorded_grpc", "recorded_leaves"]


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
