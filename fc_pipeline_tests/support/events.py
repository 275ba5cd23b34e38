"""Builders of hub events in Snapchain's shape (hub-api 4 and 5), and of the micro-batches that are cut out of them."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from fc_pipeline.fold.micro_batch import MicroBatch, prepare
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.event_batch import EventBatch, block_times_of
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, Message
from fc_pipeline.tables.registry import DATA_TABLES

HOUR_UNIX = 1_793_491_200
"""2026-11-01T00:00:00Z: the hour in which every built event stands unless a test says otherwise."""
HOUR = "2026-11-01-00:00"
FIRST_HEIGHT = 1_000
NOW = HOUR_UNIX - FARCASTER_EPOCH_UNIX
"""The same hour in Farcaster seconds."""

Event = dict[str, Any]
Json = dict[str, Any]


def hex_hash(*parts: object) -> str:
    """A 20-byte hash in 0x-hex that depends on what it is made of."""
    return "0x" + hashlib.sha256(repr(parts).encode()).hexdigest()[:40]


def base64_of(hex_text: str) -> str:
    return b64encode(bytes.fromhex(hex_text[2:])).decode()


def message(kind: str, fid: int, timestamp: int, body: Json, **envelope: Any) -> Json:
    """A signed message; its hash is made of its content, so equal messages are the same one."""
    return {
        "data": {
            "type": f"MESSAGE_TYPE_{kind}",
            "fid": fid,
            "timestamp": timestamp,
            "network": "FARCASTER_NETWORK_MAINNET",
            **body,
        },
        "hash": hex_hash(kind, fid, timestamp, body),
        "hashScheme": "HASH_SCHEME_BLAKE3",
        "signature": b64encode(b"s" * 64).decode(),
        "signatureScheme": "SIGNATURE_SCHEME_ED25519",
        "signer": "0x" + "5a" * 32,
        **envelope,
    }


def cast_add(fid: int, text: str = "hello", timestamp: int = NOW, **body: Any) -> Json:
    content = {
        "text": text,
        "embeds": [],
        "embedsDeprecated": [],
        "mentions": [],
        "mentionsPositions": [],
        "parentCastId": None,
        "parentUrl": None,
        "type": "CAST",
        **body,
    }
    return message("CAST_ADD", fid, timestamp, {"castAddBody": content})


def cast_remove(fid: int, target_hash: str, timestamp: int = NOW) -> Json:
    return message("CAST_REMOVE", fid, timestamp, {"castRemoveBody": {"targetHash": base64_of(target_hash)}})


def reaction(
    fid: int, target: tuple[int, str] | str, kind: str = "LIKE", timestamp: int = NOW, *, add: bool = True
) -> Json:
    body: Json = {"type": f"REACTION_TYPE_{kind}"}
    if isinstance(target, str):
        body["targetUrl"] = target
    else:
        body["targetCastId"] = {"fid": target[0], "hash": target[1]}
    return message("REACTION_ADD" if add else "REACTION_REMOVE", fid, timestamp, {"reactionBody": body})


def link(fid: int, target_fid: int, timestamp: int = NOW, kind: str = "follow", *, add: bool = True) -> Json:
    body = {"type": kind, "displayTimestamp": None, "targetFid": target_fid}
    return message("LINK_ADD" if add else "LINK_REMOVE", fid, timestamp, {"linkBody": body})


def compact_state(fid: int, target_fids: Sequence[int], timestamp: int = NOW, kind: str = "follow") -> Json:
    body = {"type": kind, "targetFids": list(target_fids)}
    return message("LINK_COMPACT_STATE", fid, timestamp, {"linkCompactStateBody": body})


def user_data(fid: int, kind: str, value: str, timestamp: int = NOW) -> Json:
    name = kind if kind.startswith("USER_DATA_") else f"USER_DATA_TYPE_{kind}"
    return message("USER_DATA_ADD", fid, timestamp, {"userDataBody": {"type": name, "value": value}})


def verification(fid: int, address: str, timestamp: int = NOW, protocol: str = "ETHEREUM", **body: Any) -> Json:
    content = {
        "address": address,
        "claimSignature": b64encode(b"c" * 65).decode(),
        "blockHash": "0x" + "b1" * 32,
        "type": 0,
        "chainId": 0,
        "protocol": f"PROTOCOL_{protocol}",
        **body,
    }
    return message("VERIFICATION_ADD_ETH_ADDRESS", fid, timestamp, {"verificationAddAddressBody": content})


def verification_remove(fid: int, address: str, timestamp: int = NOW, protocol: str = "ETHEREUM") -> Json:
    body = {"address": address, "protocol": f"PROTOCOL_{protocol}"}
    return message("VERIFICATION_REMOVE", fid, timestamp, {"verificationRemoveBody": body})


def proof(name: str, fid: int, timestamp: int, kind: str = "FNAME", signature: bytes = b"p" * 65) -> Json:
    """A username proof; `timestamp` is unix seconds, `fid` 0 releases the name."""
    return {
        "timestamp": timestamp,
        "name": name,
        "owner": "0x" + f"{fid:040x}",
        "signature": b64encode(signature).decode(),
        "fid": fid,
        "type": f"USERNAME_TYPE_{kind}",
    }


def proof_message(body: Json) -> Json:
    """The message that carries an ENS or Basename proof."""
    return message("USERNAME_PROOF", body["fid"], body["timestamp"] - FARCASTER_EPOCH_UNIX, {"usernameProofBody": body})


def chain_event(kind: str, fid: int, body: Json | None = None, *, block: int = 1, log_index: int = 0) -> Json:
    """A contract event: kind is `id_register`, `storage_rent`, `signer` or `channel_register`."""
    types = {
        "id_register": ("EVENT_TYPE_ID_REGISTER", "idRegisterEventBody"),
        "storage_rent": ("EVENT_TYPE_STORAGE_RENT", "storageRentEventBody"),
        "signer": ("EVENT_TYPE_SIGNER", "signerEventBody"),
        "channel_register": ("EVENT_TYPE_CHANNEL_REGISTER", "channelRegisterEventBody"),
    }
    event_type, key = types[kind]
    return {
        "type": event_type,
        "chainId": 10,
        "blockNumber": block,
        "blockHash": "0x" + "bb" * 32,
        "blockTimestamp": HOUR_UNIX - 1_000_000 + block,
        "transactionHash": "0x" + hashlib.sha256(f"{kind}{fid}{block}{log_index}".encode()).hexdigest(),
        "logIndex": log_index,
        "fid": fid,
        key: body or {},
        "tier_purchase_event_body": None,
        "txIndex": 0,
        "version": 0,
    }


def merge(added: Json, *deleted: Json) -> Event:
    return {
        "type": "HUB_EVENT_TYPE_MERGE_MESSAGE",
        "mergeMessageBody": {"message": added, "deletedMessages": list(deleted)},
    }


def prune(gone: Json) -> Event:
    return {"type": "HUB_EVENT_TYPE_PRUNE_MESSAGE", "pruneMessageBody": {"message": gone}}


def revoke(gone: Json) -> Event:
    return {"type": "HUB_EVENT_TYPE_REVOKE_MESSAGE", "revokeMessageBody": {"message": gone}}


def merge_proof(new: Json | None = None, gone: Json | None = None) -> Event:
    """MERGE_USERNAME_PROOF: `new` alone or with the proof it displaced; only `gone` when one was pruned or revoked."""
    body: Json = {}
    for key, given in (("usernameProof", new), ("deletedUsernameProof", gone)):
        if given is not None:
            body[key] = given
            if given["type"] != "USERNAME_TYPE_FNAME":
                body[f"{key}Message"] = proof_message(given)
    return {"type": "HUB_EVENT_TYPE_MERGE_USERNAME_PROOF", "mergeUsernameProofBody": body}


def merge_chain(event: Json) -> Event:
    return {"type": "HUB_EVENT_TYPE_MERGE_ON_CHAIN_EVENT", "mergeOnChainEventBody": {"onChainEvent": event}}


def failure(refused: Json) -> Event:
    body = {"message": refused, "code": "bad_request.conflict", "reason": "conflict"}
    return {"type": "HUB_EVENT_TYPE_MERGE_FAILURE", "mergeFailureBody": body}


def raw(event: Event, height: int, seq: int, shard: int = 1) -> bytes:
    """The event's JSON as a hub writes it, at its place in the log."""
    placed = {"type": event["type"], "id": height << 14 | seq, **event, "blockNumber": height, "shardIndex": shard}
    return json.dumps(placed, ensure_ascii=False, separators=(",", ":")).encode()


def block(height: int, events: Iterable[Event | bytes], shard: int = 1, unix: int | None = None) -> list[bytes]:
    """One block's raw events, BLOCK_CONFIRMED first; bytes among the events stand as they are."""
    listed = list(events)
    at = HOUR_UNIX + height - FIRST_HEIGHT if unix is None else unix
    confirmed = {
        "blockNumber": height,
        "shardIndex": shard,
        "timestamp": at - FARCASTER_EPOCH_UNIX,
        "blockHash": "0x" + "0b" * 32,
        "totalEvents": len(listed) + 1,
    }
    first: Event = {"type": "HUB_EVENT_TYPE_BLOCK_CONFIRMED", "blockConfirmedBody": confirmed}
    placed = [event if isinstance(event, bytes) else raw(event, height, n + 1, shard) for n, event in enumerate(listed)]
    return [raw(first, height, 0, shard), *placed]


Blocks = Mapping[int, Sequence[bytes]]
"""Height → raw events of one shard."""


def blocks_of(*contents: Iterable[Event | bytes], shard: int = 1, first_height: int = FIRST_HEIGHT) -> Blocks:
    """One block per list of events, at heights that follow on each other."""
    return {first_height + n: block(first_height + n, events, shard) for n, events in enumerate(contents)}


def event_batch(blocks: Blocks, first: int | None = None, last: int | None = None, shard: int = 1) -> EventBatch:
    """The complete blocks `first`…`last` of a shard (default: all) as the hub client hands them on."""
    heights = [height for height in sorted(blocks) if (first or 0) <= height <= (last or max(blocks))]
    raws = [one for height in heights for one in blocks[height]]
    ids, events, undecodable = decode_events(raws, previous_id=heights[0] << 14)
    times = block_times_of(events)
    return EventBatch(shard, heights[0], heights[-1], raws, ids, events, undecodable, times)


def micro_batch(
    blocks: Blocks,
    first: int | None = None,
    last: int | None = None,
    shard: int = 1,
    tables: Collection[str] = tuple(DATA_TABLES),
    shard_count: int | None = None,
) -> MicroBatch:
    """The same as one micro-batch of HOUR; of `shard_count` shards, where other than home shards carry copies."""
    batch = event_batch(blocks, first, last, shard)
    return prepare(batch, partition=HOUR, hour_unix=HOUR_UNIX, tables=tables, shard_count=shard_count)


def decoded(message_json: Json) -> Message:
    """A built message as the decoder gives it."""
    _, events, undecodable = decode_events([raw(merge(message_json), 1, 1)])
    if undecodable:
        raise ValueError(undecodable[0].detail)
    body = events[0].mergeMessageBody
    if body is None:
        raise ValueError("the builder made no MERGE_MESSAGE")
    return body.message
