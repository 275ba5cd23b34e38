"""Checks a log event by event against the protocol's rules (hub-api 7), as a strict node would."""

import json
from base64 import b64decode
from collections import defaultdict
from typing import Any

V19 = 175_701_600


class Referee:
    def __init__(self) -> None:
        self.sets: defaultdict[Any, dict[Any, dict[str, Any]]] = defaultdict(dict)
        self.names: dict[tuple[int, str], dict[str, Any]] = {}
        self.seen: defaultdict[str, int] = defaultdict(int)
        self.heights: dict[int, int] = {}
        self.due: dict[int, int] = {}
        self.times: dict[int, int] = {}
        self.last_ids: dict[int, int] = {}
        self.now = 0

    def evaluate(self, raw: bytes) -> None:
        event = json.loads(raw)
        kind = event["type"].removeprefix("HUB_EVENT_TYPE_")
        self.seen[kind] += 1
        self._place(event, kind)
        if kind == "MERGE_MESSAGE":
            self._merge(event["shardIndex"], event["mergeMessageBody"])
        elif kind in ("PRUNE_MESSAGE", "REVOKE_MESSAGE"):
            message = (event.get("pruneMessageBody") or event["revokeMessageBody"])["message"]
            space, key = where(message, event["shardIndex"])
            assert self.sets[space].pop(key) == message
        elif kind == "MERGE_USERNAME_PROOF":
            self._prove(event["shardIndex"], event["mergeUsernameProofBody"])
        elif kind == "MERGE_ON_CHAIN_EVENT":
            chain = event["mergeOnChainEventBody"]["onChainEvent"]
            self.seen[chain["type"]] += 1
            assert "tier_purchase_event_body" in chain

    def _place(self, event: dict[str, Any], kind: str) -> None:
        shard, height, seq = event["shardIndex"], event["id"] >> 14, event["id"] & 16383
        assert event["blockNumber"] == height
        assert (seq == 0) == (kind == "BLOCK_CONFIRMED")
        if seq == 0:
            body = event["blockConfirmedBody"]
            assert self.due.get(shard, 0) == 0
            assert height == self.heights.get(shard, height - 1) + 1
            assert body["timestamp"] >= self.times.get(shard, 0)
            assert (body["blockNumber"], body["shardIndex"]) == (height, shard)
            self.heights[shard], self.due[shard], self.times[shard] = height, body["totalEvents"], body["timestamp"]
            self.now = body["timestamp"]
        else:
            assert event["id"] == self.last_ids[shard] + 1
        self.due[shard] -= 1
        self.last_ids[shard] = event["id"]

    def _merge(self, shard: int, body: dict[str, Any]) -> None:
        message = body["message"]
        data = message["data"]
        self.seen[data["type"]] += 1
        assert data["timestamp"] <= self.now + 600
        space, key = where(message, shard)
        held = self.sets[space].get(key)
        is_compact = data["type"] == "MESSAGE_TYPE_LINK_COMPACT_STATE"
        assert body["deletedMessages"] == ([] if held is None or is_compact else [held])
        if held:
            # Of a channel's slot the last message wins, whatever time it claims.
            assert data["type"].startswith("MESSAGE_TYPE_CHANNEL_") or beats(message, held)
            self.seen["displaced " + data["type"]] += 1
        if is_compact:
            self._compact(data)
        if "linkBody" in data:
            for kind, state in self.sets["compact", data["fid"]].items():
                assert data["timestamp"] > state["data"]["timestamp"], kind
        self.sets[space][key] = message

    def _compact(self, data: dict[str, Any]) -> None:
        state = data["linkCompactStateBody"]
        links = self.sets["links", data["fid"]]
        for key, link in list(links.items()):
            if link["data"]["timestamp"] > data["timestamp"]:
                continue
            if data["timestamp"] >= V19 and key[0] != state["type"]:
                continue
            if link["data"]["type"].endswith("REMOVE") or key[1] not in state["targetFids"]:
                del links[key]
                self.seen["compacted links"] += 1

    def _prove(self, shard: int, body: dict[str, Any]) -> None:
        proof, deleted = body.get("usernameProof"), body.get("deletedUsernameProof")
        name = (proof or deleted)["name"]
        held = self.names.pop((shard, name), None)
        assert deleted == held
        if proof is None:
            self.seen["pruned proof"] += 1
            return
        if held:
            assert proof["timestamp"] > held["timestamp"]
        self.seen["fid 0" if proof["fid"] == 0 else proof["type"]] += 1
        if proof["fid"]:
            self.names[shard, name] = proof


def beats(new: dict[str, Any], old: dict[str, Any]) -> bool:
    if "castRemoveBody" in new["data"] and "castAddBody" in old["data"]:
        return True
    return (new["data"]["timestamp"], new["hash"]) > (old["data"]["timestamp"], old["hash"])


def where(message: dict[str, Any], shard: int) -> tuple[Any, Any]:
    """The set that the message belongs to, and its key there."""
    data = message["data"]
    fid = data["fid"]
    if "castAddBody" in data:
        return ("casts", fid), message["hash"]
    if "castRemoveBody" in data:
        return ("casts", fid), "0x" + b64decode(data["castRemoveBody"]["targetHash"]).hex()
    if "reactionBody" in data:
        body = data["reactionBody"]
        return ("reactions", fid), (body["type"], json.dumps(body.get("targetCastId")), body.get("targetUrl"))
    if "linkBody" in data:
        return ("links", fid), (data["linkBody"]["type"], data["linkBody"]["targetFid"])
    if "linkCompactStateBody" in data:
        return ("compact", fid), data["linkCompactStateBody"]["type"]
    if "userDataBody" in data:
        return ("user data", fid), data["userDataBody"]["type"]
    if "lendStorageBody" in data:
        return ("lends", fid, shard), data["lendStorageBody"]["toFid"]
    for name, key in (("Update", None), ("Member", "fid"), ("Pin", None), ("Moderate", "castHash")):
        body = data.get(f"channel{name}Body")
        if body is not None:
            return (name, body["channelId"], shard), body.get(key)
    body = data.get("verificationAddAddressBody") or data["verificationRemoveBody"]
    return ("verifications", fid, shard), body["address"]
