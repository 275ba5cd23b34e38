"""A replay of a log that knows rows only by their hash: what the by-FID answers are compared with."""

import json
from typing import Any

from fc_pipeline.sample_hub.homes import shard_of

V19 = 175_701_600


def is_foreign_copy(event: dict[str, Any]) -> bool:
    """A verification on a shard that is not its FID's home, of two: what happens to it there means nothing."""
    body = next((body for key, body in event.items() if key in GONE_OR_MERGED), None)
    data = body["message"]["data"] if body else {}
    return "VERIFICATION" in data.get("type", "") and event["shardIndex"] != shard_of(data["fid"], 2)


GONE_OR_MERGED = ("mergeMessageBody", "pruneMessageBody", "revokeMessageBody")


class Replay:
    """Trusts deletedMessages for everything but compact states; says of each row on which shard it was merged."""

    def __init__(self, raws: list[bytes]) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.names: dict[tuple[int, str], dict[str, Any]] = {}
        self.chain: list[dict[str, Any]] = []
        for raw in raws:
            self._apply(json.loads(raw))

    def _apply(self, event: dict[str, Any]) -> None:
        kind = event["type"].removeprefix("HUB_EVENT_TYPE_")
        if is_foreign_copy(event):
            return
        if kind == "MERGE_MESSAGE":
            body = event["mergeMessageBody"]
            for deleted in body["deletedMessages"]:
                self.rows.pop(deleted["hash"], None)
            self._compact(body["message"])
            self.rows[body["message"]["hash"]] = body["message"]
        elif kind in ("PRUNE_MESSAGE", "REVOKE_MESSAGE"):
            self.rows.pop((event.get("pruneMessageBody") or event["revokeMessageBody"])["message"]["hash"], None)
        elif kind == "MERGE_USERNAME_PROOF":
            self._prove(event["shardIndex"], event["mergeUsernameProofBody"])
        elif kind == "MERGE_ON_CHAIN_EVENT":
            self.chain.append(event["mergeOnChainEventBody"]["onChainEvent"])

    def _compact(self, message: dict[str, Any]) -> None:
        data = message["data"]
        if data["type"] != "MESSAGE_TYPE_LINK_COMPACT_STATE":
            return
        state = data["linkCompactStateBody"]
        for row_hash, row in list(self.rows.items()):
            other = row["data"]
            if other["fid"] != data["fid"] or other["timestamp"] > data["timestamp"]:
                continue
            if "linkCompactStateBody" in other and other["linkCompactStateBody"]["type"] == state["type"]:
                del self.rows[row_hash]
            link = other.get("linkBody")
            if link is None or (data["timestamp"] >= V19 and link["type"] != state["type"]):
                continue
            if other["type"].endswith("REMOVE") or link["targetFid"] not in state["targetFids"]:
                del self.rows[row_hash]

    def _prove(self, shard: int, body: dict[str, Any]) -> None:
        proof = body.get("usernameProof")
        if proof is None:
            self.names.pop((shard, body["deletedUsernameProof"]["name"]), None)
        elif proof["fid"] == 0:
            self.names.pop((shard, proof["name"]), None)
        else:
            self.names[shard, proof["name"]] = proof

    def of_fid(self, fid: int, *types: str) -> list[str]:
        """Hashes of the FID's live rows of these types, by timestamp and hash."""
        rows = [r for r in self.rows.values() if r["data"]["fid"] == fid and r["data"]["type"][13:] in types]
        return [r["hash"] for r in sorted(rows, key=lambda r: (r["data"]["timestamp"], r["hash"]))]
