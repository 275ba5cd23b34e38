"""The older dialect, Hubble's, where it differs from Snapchain's (hub-api 2, 3.6 and 8): no shards, a next pointer.

Events and messages are served as the log has them, so a log in Hubble's own shape gives a Hubble in every key.
"""

import json
from typing import Final

from starlette.responses import Response

from fc_pipeline.sample_hub import endpoints, target_endpoints
from fc_pipeline.sample_hub.answers import CORS, Refusal, json_answer
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import ShardLog
from fc_pipeline.sample_hub.paging import Paging, page_of
from fc_pipeline.sample_hub.query import BadQuery, Query

__all__ = ["ENDPOINTS", "LooseQuery", "hubble_refused"]

PAGE_EVENTS: Final = 1000
REACTION_TYPES: Final = {"1": "LIKE", "2": "RECAST", "REACTION_TYPE_LIKE": "LIKE", "REACTION_TYPE_RECAST": "RECAST"}


class LooseQuery(Query):
    """Hubble's reading: a number that is none counts as absent, and any non-empty flag is true."""

    def integer(self, *names: str, bits: int = 64, empty_is_absent: bool = True) -> int | None:
        """An unsigned integer; None when absent or not a number."""
        try:
            return super().integer(*names, bits=bits)
        except BadQuery:
            return None

    def flag(self, name: str) -> bool:
        """`reverse=1` is true."""
        return bool(self.text(name))


def hubble_refused(code: str, detail: str) -> Response:
    """400 with Hubble's error object (hub-api 1.3)."""
    error = {
        "errCode": code,
        "presentable": False,
        "name": "HubError",
        "code": 5 if code == "not_found" else 3,
        "details": detail,
        "metadata": {"errcode": [code]},
    }
    return Response(json.dumps(error), status_code=400, media_type="application/json", headers=CORS)


def _only_shard(hub: SampleHub) -> ShardLog:
    return hub.shards[0]


def info(hub: SampleHub, query: Query) -> Response:
    """No shards; `isSyncing` is true when idle, as recorded."""
    shard = _only_shard(hub)
    stats = {"numMessages": 0, "numFidEvents": 0, "numFnameEvents": 0, "approxSize": 0}
    if query.text("dbstats") in ("1", "true"):
        stats |= {"numMessages": shard.visible_end, "numFidEvents": shard.registrations, "approxSize": shard.size_bytes}
    answer = {
        "version": "1.19.3",
        "isSyncing": True,
        "nickname": "sample-hub",
        "rootHash": "0" * 40,
        "dbStats": stats,
        "peerId": "12D3KooWSampLeHubDoesNotGossipAtAll1111111111111111",
        "hubOperatorFid": 0,
    }
    return json_answer(json.dumps(answer).encode())


def events(hub: SampleHub, query: Query) -> Response:
    """Only `from_event_id` is read; the pointer creeps forward by one on an empty page (hub-api 3.6)."""
    from_id = query.integer("from_event_id") or 0
    shard = _only_shard(hub)
    span = shard.span(from_id, None, PAGE_EVENTS, reverse=False)
    rows = hub.page(shard, from_id, None, PAGE_EVENTS, reverse=False)
    next_id = shard.event_ids[span[-1]] + 1 if rows else from_id + 1
    return json_answer(b'{"nextPageEventId":%d,"events":[' % next_id + b",".join(rows) + b"]}")


def event_by_id(hub: SampleHub, query: Query) -> Response:
    raw = hub.event(_only_shard(hub), query.required_integer("event_id"))
    if raw is None:
        raise Refusal("not found")
    return json_answer(raw)


def fids(hub: SampleHub, query: Query) -> Response:
    """All FIDs, without a shard."""
    paging = Paging.of(query, "invalid page token")
    page, last = page_of(hub.state.chain.id_registers(_only_shard(hub).shard), paging, paging.token)
    return endpoints.listing("fids", (str(event.fid).encode() for event in page if event.is_registration), last)


def reactions_by_fid(hub: SampleHub, query: Query) -> Response:
    """`reaction_type` is optional, a number or the protobuf's name."""
    rows = endpoints.sets_of(hub, query.required_integer("fid")).reactions
    asked = query.text("reaction_type")
    if asked and asked not in REACTION_TYPES:
        raise BadQuery(f"invalid reaction_type: {asked}")
    kind = f"REACTION_TYPE_{REACTION_TYPES[asked]}" if asked else None
    live = (row for key, row in rows.items() if row.is_add and kind in (None, key[0]))
    return endpoints.messages(query, live, "invalid page token", endpoints.REACTIONS)


ENDPOINTS: Final = {
    **endpoints.ENDPOINTS,
    **target_endpoints.ENDPOINTS,
    "/v1/info": info,
    "/v1/events": events,
    "/v1/eventById": event_by_id,
    "/v1/fids": fids,
    "/v1/reactionsByFid": reactions_by_fid,
}
