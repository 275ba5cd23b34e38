"""`/v1/signersByFid` and `/v1/signer`: keys of the registry, then gasless ones (protocol-tables 1.3)."""

import json
from typing import Any, Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import Refusal, json_answer
from fc_pipeline.sample_hub.chain_state import ChainEvent
from fc_pipeline.sample_hub.endpoints import hex_of
from fc_pipeline.sample_hub.gasless_keys import GaslessKey
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.paging import encoded_token, token_of
from fc_pipeline.sample_hub.query import Query

__all__ = ["ENDPOINTS"]

GASLESS_LIMIT: Final = 1000
DEFAULT_PAGE_SIZE: Final = 1000
_KEY_BYTES: Final = 32


def signers_by_fid(hub: SampleHub, query: Query) -> Response:
    """One page over both kinds; `reverse` turns each part around. A page of 0 makes no progress, and never ends."""
    fid = query.required_integer("fid")
    size = query.integer("page_size", "pageSize", bits=32)
    size = DEFAULT_PAGE_SIZE if size is None else size
    onchain = [_onchain(event) for event in hub.state.chain.active_signer_events(fid)]
    keys = hub.state.keys.of_fid(fid)
    gasless = [_gasless(fid, key) for key in keys]
    if query.flag("reverse"):
        onchain.reverse()
        gasless.reverse()
    rows = onchain + gasless
    start = _place(query)
    end = min(start + size, len(rows))
    # The node goes on to gasless keys where a page has room left, which one of 0 never has.
    token = {"nextPageToken": _token(end)} if end < len(rows) or not size else {}
    counts = {
        "gaslessSignerCount": len(keys),
        "gaslessSignerLimit": GASLESS_LIMIT,
        "currentUserNonce": hub.state.keys.nonce_of(fid),
    }
    head = json.dumps({**token, **counts}, separators=(",", ":"))
    return json_answer(b'{"signers":[' + b",".join(rows[start:end]) + b"]," + head[1:].encode())


def signer(hub: SampleHub, query: Query) -> Response:
    """One key that may sign, of the registry before a gasless one."""
    error = "Failed to get signer"
    fid = query.required_integer("fid")
    wanted = hex_of(query.required_text("signer"), error)
    for event in hub.state.chain.active_signer_events(fid):
        if event.body["key"] == wanted and event.body["eventType"] == "SIGNER_EVENT_TYPE_ADD":
            return json_answer(b'{"signer":' + _onchain(event) + b"}")
    size_bytes = len(wanted) // 2 - 1
    if size_bytes != _KEY_BYTES:
        message = f"bad_request.validation_failure/gasless-key store: expected 32-byte key, got {size_bytes}"
        raise Refusal(error, "InvalidArgument", message)
    for key in hub.state.keys.of_fid(fid):
        if key.key == wanted:
            return json_answer(b'{"signer":' + _gasless(fid, key) + b"}")
    raise Refusal(error, "NotFound", "Active signer not found")


def _onchain(event: ChainEvent) -> bytes:
    head: dict[str, Any] = {
        "source": "SIGNER_SOURCE_ONCHAIN",
        "key": event.body["key"],
        "keyType": event.body["keyType"],
        "fid": event.fid,
        "addedAt": event.block_timestamp,
    }
    return json.dumps(head, separators=(",", ":"))[:-1].encode() + b',"onChainEvent":' + bytes(event.raw) + b"}"


def _gasless(fid: int, key: GaslessKey) -> bytes:
    entry: dict[str, Any] = {
        "source": "SIGNER_SOURCE_OFFCHAIN",
        "key": key.key,
        "keyType": 1,
        "fid": fid,
        "addedAt": key.added_at,
        "lastUsedAt": key.last_used_at,
        "ttl": key.ttl,
        "expiresAt": key.last_used_at + key.ttl,
        "scopes": list(key.scopes),
        "requestFid": key.request_fid,
        "nonce": key.nonce,
    }
    return json.dumps(entry, separators=(",", ":")).encode()


def _token(place: int) -> str:
    """A JSON cursor."""
    return encoded_token(json.dumps({"place": place}).encode())


def _place(query: Query) -> int:
    token = token_of(query)
    if token is None:
        return 0
    try:
        return int(json.loads(token)["place"])
    except (ValueError, KeyError, TypeError) as problem:
        raise Refusal("Failed to get signers", "InvalidArgument", f"Invalid page token: {problem}") from problem


ENDPOINTS: Final = {"/v1/signersByFid": signers_by_fid, "/v1/signer": signer}
