"""Messages over gRPC become the JSON that the same node's HTTP API writes."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_messages import message_json
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.proof.protobuf import Malformed, bytes_field, number_field
from fc_pipeline_tests.support.recorded_leaves import recorded_grpc
from fc_pipeline_tests.support.recorded_messages import recorded_messages
from fc_pipeline_tests.support.replayed_grpc import replayed_grpc
from fc_pipeline_tests.support.wire_fields import fields_of

UNIT_TYPES = {"UnitTypeLegacy": "UNIT_TYPE_LEGACY", "UnitType2024": "UNIT_TYPE_2024", "UnitType2025": "UNIT_TYPE_2025"}


def plain(value: Any) -> Any:
    """Without what is absent, which HTTP writes as null now and then, and with one name of a lend's units."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return UNIT_TYPES.get(value, value) if isinstance(value, str) else value


def test_each_recorded_message_is_as_http_tells_it(shared_fixtures: Path) -> None:
    told = {message["hash"]: plain(message) for message in recorded_messages(shared_fixtures / "snapchain")}
    seen: Counter[str] = Counter()
    for call in recorded_grpc(shared_fixtures):
        if not call.method.endswith(("MessagesByFid", "MessageByFid")) or call.response is None:
            continue
        for encoded in fields_of(call.response).get(1, []):
            message = json.loads(message_json(encoded))
            assert plain(message) == told[message["hash"]]
            seen[message["data"]["type"]] += 1
    assert seen.total() > 2_000
    assert seen.keys() >= {f"MESSAGE_TYPE_{kind}" for kind in ("CAST_REMOVE", "LINK_REMOVE", "LINK_COMPACT_STATE")}


def test_a_node_lists_all_live_messages_of_a_user_and_counts(shared_fixtures: Path) -> None:
    async def ask(url: str) -> None:
        async with GrpcNode(HubEndpoint(url)) as node:
            kinds = Counter([json.loads(one)["data"]["type"] async for one in node.messages_by_fid(1000)])
            assert kinds["MESSAGE_TYPE_CAST_ADD"] > 10
            info = await node.info()
            assert info.version == "0.14.2"
            assert {shard.shardId: shard.numMessages for shard in info.shardInfos}[1] == 1779

    with replayed_grpc(shared_fixtures) as url:
        asyncio.run(ask(url))


@pytest.mark.parametrize("message", [b"", bytes_field(1, number_field(1, 99)), b"\xff", bytes_field(7, b"\x0a")])
def test_what_is_no_message_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        message_json(message)
