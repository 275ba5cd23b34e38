"""What the tables must hold after a log of events, by the rules of hub-api 5 and 7 alone.

Written apart from the fold: plain dictionaries, one event after the other in the order of its shard, straight from the
JSON. Nothing here imports how the pipeline decodes, folds or declares its tables.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from fc_pipeline_tests.faults.oracle_channels import SLOT_TABLES, channel_tables, is_of_channel, slot_of
from fc_pipeline_tests.faults.oracle_contracts import derived_tables
from fc_pipeline_tests.faults.oracle_rows import (
    COUNTS,
    FARCASTER_EPOCH_UNIX,
    MESSAGE_TABLES,
    Json,
    Key,
    Place,
    Row,
    chain_row,
    counts_of,
    hex_of,
    lend_row,
    message_row,
    place_of,
    profiles_of,
    proof_row,
)
from fc_pipeline_tests.faults.unstorable import reason_to_set_aside, without_nul

OTHER_TABLES = ("username_proofs", "on_chain_events", "storage_lends", "fid_activity", *SLOT_TABLES)
SCOPED_SINCE = 175_701_600
"""Farcaster second since which a compact state touches links of its own type only (hub-api 7.4)."""


class Oracle:
    """The live rows after all events of a log, per table and key.

    `tables` holds every table of data, `quarantined` the events that no table
    can hold, by shard and id, `unlawful` what no hub would have sent: a sign that the log itself is broken.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.tables: dict[str, dict[Key, Row]] = {name: {} for name in (*MESSAGE_TABLES, *OTHER_TABLES)}
        self.quarantined: dict[tuple[int, int], str] = {}
        self.nul_removed: set[tuple[int, int]] = set()
        self.unlawful: list[str] = []
        self.events: dict[tuple[int, int], Json] = {}
        self._names: dict[tuple[int, Key], tuple[Any, bool, Row]] = {}
        self._hour = 0
        events = sorted(map(json.loads, lines), key=lambda event: (event["shardIndex"], event["id"]))
        self._shards = len({event["shardIndex"] for event in events})
        for event in events:
            self._apply(event)
        self._settle_names()
        self.tables |= derived_tables(self.tables)
        self.tables |= channel_tables(self.tables)
        self.tables["user_profiles"] = profiles_of(self.tables)

    def _apply(self, event: Json) -> None:
        place = event["shardIndex"], event["id"]
        self.events[place] = event
        if event["type"] == "HUB_EVENT_TYPE_BLOCK_CONFIRMED":
            block_unix = event["blockConfirmedBody"]["timestamp"] + FARCASTER_EPOCH_UNIX
            self._hour = block_unix - block_unix % 3600
        if reason := reason_to_set_aside(event):
            self.quarantined[place] = reason
            return
        stored = without_nul(event)
        if _stored_part(stored) != _stored_part(event):
            self.nul_removed.add(place)
        if not self._is_foreign_copy(event):
            self._take_in(event, stored)

    def _take_in(self, event: Json, stored: Json) -> None:
        """What the event does to the tables; `stored` is the event as they can hold it."""
        match event["type"].removeprefix("HUB_EVENT_TYPE_"):
            case "MERGE_MESSAGE" | "PRUNE_MESSAGE" if _is_on_every_shard(stored):
                self._of_first_shard(stored)
            case "MERGE_MESSAGE":
                self._merge(stored["mergeMessageBody"], event["id"])
            case "PRUNE_MESSAGE":
                self._take_away(stored["pruneMessageBody"]["message"])
            case "REVOKE_MESSAGE":
                self._take_away(stored["revokeMessageBody"]["message"])
            case "MERGE_USERNAME_PROOF":
                self._prove(event["shardIndex"], stored["mergeUsernameProofBody"], event["id"])
            case "MERGE_ON_CHAIN_EVENT":
                key, row = chain_row(stored["mergeOnChainEventBody"]["onChainEvent"])
                self.tables["on_chain_events"][key] = {**row, "version": event["id"]}

    def _is_foreign_copy(self, event: Json) -> bool:
        """A verification on another shard than its FID's: what becomes of it there means nothing (hub-api 12)."""
        data = _message_of(event).get("data", {})
        is_verification = "_VERIFICATION_" in data.get("type", "")
        return is_verification and self._shards > 1 and event["shardIndex"] != home_of(data["fid"], self._shards)

    def _merge(self, body: Json, event_id: int) -> None:
        """What was displaced first, then the message (hub-api 7.2); a compact state deletes by itself (7.4)."""
        message = body["message"]
        for displaced in body["deletedMessages"]:
            self._take_away(displaced)
        kind = message["data"]["type"].removeprefix("MESSAGE_TYPE_")
        self._count(kind, message["data"])
        if kind == "LINK_COMPACT_STATE":
            self._compact(message["data"])
            return
        if (place := place_of(message)) is None:
            return
        table, key = place
        if kind.endswith("_REMOVE"):
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = {**message_row(message), "version": event_id}

    def _of_first_shard(self, event: Json) -> None:
        """Every shard tells of lends and of channels' messages, in the same order; shard 1 counts."""
        if event["shardIndex"] == 1:
            (self._lend if _is_lend(event) else self._fill_slot)(event)

    def _lend(self, event: Json) -> None:
        """A lend of 0 units is merged and pruned at once (protocol-tables 2.2)."""
        merged = event.get("mergeMessageBody")
        key, row = lend_row((merged or event["pruneMessageBody"])["message"])
        if merged:
            self.tables["storage_lends"][key] = {**row, "version": event["id"]}
        else:
            self.tables["storage_lends"].pop(key, None)

    def _fill_slot(self, event: Json) -> None:
        """Of two messages of one slot the last counts (protocol-tables 3.3)."""
        table, key, row = slot_of(event["mergeMessageBody"]["message"])
        self.tables[table][key] = {**row, "version": event["id"]}

    def _take_away(self, message: Json) -> None:
        place = place_of(message)
        if place is None or message["data"]["type"].endswith("_REMOVE"):
            return
        table, key = place
        held = self.tables[table].pop(key, None)
        if held is None or held["hash"] != hex_of(message["hash"]):
            self.unlawful.append(f"{table} {key}: {message['hash']} went away, but {held} was held")

    def _compact(self, data: Json) -> None:
        state = data["linkCompactStateBody"]
        for key, link in list(self.tables["links"].items()):
            fid, kind, target_fid = key
            if fid != data["fid"] or link["timestamp"] > data["timestamp"] + FARCASTER_EPOCH_UNIX:
                continue
            if data["timestamp"] >= SCOPED_SINCE and kind != state["type"]:
                continue
            if target_fid not in state["targetFids"]:
                del self.tables["links"][key]

    def _prove(self, shard: int, body: Json, event_id: int) -> None:
        """Names go by the proof's own time, then by hash or signature; fid 0 is a release (hub-api 7.1, 7.5)."""
        is_merge = "usernameProof" in body
        proof = body["usernameProof"] if is_merge else body["deletedUsernameProof"]
        message = body.get("usernameProofMessage" if is_merge else "deletedUsernameProofMessage")
        key, rank, row = proof_row(proof, message)
        known = self._names.get((shard, key))
        if known is None or rank >= known[0]:
            self._names[shard, key] = (rank, is_merge and proof["fid"] != 0, {**row, "version": event_id})

    def _settle_names(self) -> None:
        """Of what the shards say of a name, the newest proof; the same one counts as of its highest event id."""
        newest: dict[Key, tuple[Any, bool, Row]] = {}
        for (_, key), found in self._names.items():
            known = newest.get(key)
            if known is None or (found[0], found[2]["version"]) > (known[0], known[2]["version"]):
                newest[key] = found
        self.tables["username_proofs"] = {key: row for key, (_, is_held, row) in newest.items() if is_held}

    def _count(self, kind: str, data: Json) -> None:
        for fid, count in counts_of(kind, data):
            row = self.tables["fid_activity"].setdefault((self._hour, fid), dict.fromkeys(COUNTS, 0))
            row[count] += 1

    def places_of(self, event: Json) -> list[Place]:
        """The keys that an event decides over: each has a row, live or a tombstone, once the event is folded."""
        kind = event["type"].removeprefix("HUB_EVENT_TYPE_")
        if (event["shardIndex"], event["id"]) in self.quarantined or self._is_foreign_copy(event):
            return []
        event = without_nul(event)
        if kind == "MERGE_USERNAME_PROOF":
            body = event["mergeUsernameProofBody"]
            return [("username_proofs", proof_row(body.get("usernameProof") or body["deletedUsernameProof"], None)[0])]
        if kind == "MERGE_ON_CHAIN_EVENT":
            return [("on_chain_events", chain_row(event["mergeOnChainEventBody"]["onChainEvent"])[0])]
        if kind == "MERGE_MESSAGE":
            body = event["mergeMessageBody"]
            data = body["message"]["data"]
            if "linkCompactStateBody" in data:
                return [("pipeline.link_compactions", (data["fid"], event["id"]))]
            gone = [one for one in body["deletedMessages"] if not one["data"]["type"].endswith("_REMOVE")]
            return [place for one in (*gone, body["message"]) if (place := place_of(one))]
        if kind in ("PRUNE_MESSAGE", "REVOKE_MESSAGE"):
            message = (event.get("pruneMessageBody") or event["revokeMessageBody"])["message"]
            is_remove = message["data"]["type"].endswith("_REMOVE")
            return [] if is_remove or (place := place_of(message)) is None else [place]
        return []


def _is_lend(event: Json) -> bool:
    return _message_of(event)["data"]["type"] == "MESSAGE_TYPE_LEND_STORAGE"


def _is_on_every_shard(event: Json) -> bool:
    return _is_lend(event) or is_of_channel(_message_of(event))


def home_of(fid: int, shards: int) -> int:
    """The shard on which an FID is at home (hub-api 7.7)."""
    digest = hashlib.sha256((fid & 0xFFFFFFFF).to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") % shards + 1


def _message_of(event: Json) -> Json:
    """The message that was merged or went away; nothing in other events."""
    bodies = (event.get(f"{kind}MessageBody") for kind in ("merge", "prune", "revoke"))
    return next((body["message"] for body in bodies if body), {})


def _stored_part(event: Json) -> Any:
    merge = event.get("mergeMessageBody")
    proof = event.get("mergeUsernameProofBody")
    return merge and merge["message"], proof and proof.get("usernameProof"), event.get("mergeOnChainEventBody")
