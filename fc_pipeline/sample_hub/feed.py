"""The endpoints about the log itself: /v1/info, /v1/events and /v1/eventById (hub-api 2 and 3)."""

from typing import Any, Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import Refusal, json_answer, json_list, json_object
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.query import Query

__all__ = ["DEFAULT_PAGE_SIZE", "PEER_ID", "VERSION", "event_by_id", "events", "info", "page_size_of"]

VERSION: Final = "0.14.2"
PEER_ID: Final = "12D3KooWSampLeHubDoesNotGossipAtAll1111111111111111"
MEMPOOL_UNKNOWN: Final = 4_294_967_295
DEFAULT_PAGE_SIZE: Final = 1000


def info(hub: SampleHub, query: Query) -> Response:
    """`numMessages` is the leaves of the shard's trie, or else of the log's events, as good a size (hub-api T21)."""
    now = hub.clock()
    chain = hub.chain
    shards: list[dict[str, int]] = []
    for shard in hub.shards:
        newest = shard.newest_unix
        trie = None if chain is None else chain.trie(shard.shard)
        shards.append(
            {
                "shardId": shard.shard,
                "maxHeight": shard.head_height,
                "numMessages": trie.root.leaf_count if trie else shard.dropped_events + shard.visible_end,
                "numFidRegistrations": shard.registrations,
                "approxSize": shard.size_bytes,
                "blockDelay": max(0, int(now - newest)) if newest is not None else 0,
                "mempoolSize": MEMPOOL_UNKNOWN,
            }
        )
    blocks_shard = {
        "shardId": 0,
        "maxHeight": max((s["maxHeight"] for s in shards), default=0),
        "numMessages": 0,
        "numFidRegistrations": 0,
        "approxSize": 0,
        "blockDelay": min((s["blockDelay"] for s in shards), default=0),
        "mempoolSize": 0,
    }
    answer: dict[str, Any] = {
        "dbStats": {key: sum(s[key] for s in shards) for key in ("numMessages", "numFidRegistrations", "approxSize")},
        "numShards": hub.faults.num_shards if hub.faults.num_shards is not None else len(shards),
        "shardInfos": [blocks_shard, *shards],
        "version": VERSION,
        "peer_id": PEER_ID,
        "nextEngineVersionTimestamp": 0,
    }
    return json_object(answer)


def events(hub: SampleHub, query: Query) -> Response:
    """One page per shard, concatenated, and no next pointer (hub-api 3.1)."""
    from_id = query.integer("from_event_id", empty_is_absent=False) or 0
    shard_index = query.integer("shard_index", bits=32)
    stop_id = query.integer("stop_id")
    page_size = page_size_of(query)
    reverse = query.flag("reverse")
    shards = hub.shards
    if shard_index is not None:
        shard = hub.hosted(shard_index)
        if shard is None:
            raise Refusal("Failed to get events", "InvalidArgument", "Shard not found")
        shards = [shard]
    rows: list[bytes] = []
    for shard in shards:
        rows += hub.page(shard, from_id, stop_id, page_size, reverse=reverse)
    return json_list("events", rows)


def event_by_id(hub: SampleHub, query: Query) -> Response:
    """Both the id and the shard are needed (hub-api 3.2)."""
    event_id = query.required_integer("event_id")
    shard = hub.hosted(query.required_integer("shard_index", bits=32))
    if shard is None:
        raise Refusal("Failed to get event", "InvalidArgument", "no shard store for fid")
    raw = hub.event(shard, event_id)
    if raw is None:
        raise Refusal("Failed to get event", "Internal", "not_found/Event not found")
    return json_answer(raw)


def page_size_of(query: Query, default: int = DEFAULT_PAGE_SIZE) -> int:
    """No maximum, and 0 acts as 1 (hub-api 6.1)."""
    size = query.integer("page_size", "pageSize", bits=32)
    return default if size is None else max(1, size)
