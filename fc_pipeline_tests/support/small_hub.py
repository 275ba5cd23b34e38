"""A hub of two shards and a few FIDs that merges what its rules allow (hub-api 7), and answers by FID page by page.

What it holds is the sample hub's own model of the message sets, which shares nothing with the fold.
"""

from base64 import b64decode
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from fc_pipeline.hub.snapshot import CONTRACTS_FID, NAMES_ASKED, shard_of
from fc_pipeline.hub.wire import first_event_id, height_of
from fc_pipeline.lake.snapshot_log import SNAPSHOT_SCHEMA
from fc_pipeline.reconcile.covered_history import CONTRACT_DELAY_SECONDS
from fc_pipeline.reconcile.staging import FidSnapshot
from fc_pipeline.sample_hub.log import EventLog, block_of, log_from_lines
from fc_pipeline.sample_hub.state import HubState, Row
from fc_pipeline.store import ledger
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    Blocks,
    Event,
    Json,
    block,
    chain_event,
    merge,
    merge_chain,
    merge_proof,
    proof,
    prune,
    raw,
    revoke,
)

FETCHED_AT = datetime(2026, 11, 2, tzinfo=UTC)
CHAIN_TYPES = ("EVENT_TYPE_SIGNER", "EVENT_TYPE_ID_REGISTER", "EVENT_TYPE_STORAGE_RENT", "EVENT_TYPE_TIER_PURCHASE")
SETS = ("casts", "reactions", "links", "user_data", "verifications")
Line = tuple[str, bytes]
"""Kind and record."""

_ANY = msgspec.json.Decoder()


@dataclass
class SmallHub:
    """`home` maps a shard to its FIDs; `first_height` is where both shards begin."""

    home: dict[int, tuple[int, ...]]
    first_height: int = 1
    log: EventLog = field(default_factory=EventLog)
    state: HubState = field(init=False)
    raws: dict[int, dict[int, list[bytes]]] = field(default_factory=dict[int, dict[int, list[bytes]]])
    names_due: dict[int, list[Json]] = field(default_factory=dict[int, list[Json]])
    names: set[str] = field(default_factory=set[str])
    """Every name that was ever proved, or that a test invents: what a reader asks for by name."""

    def __post_init__(self) -> None:
        self.state = HubState(self._home_of)
        self.raws = {shard: {} for shard in self.home}
        self.names_due = {shard: [] for shard in self.home}

    @classmethod
    def of_log(cls, raws: Iterable[bytes]) -> "SmallHub":
        """A hub with everything of a log. FID 0, of which contracts speak, is asked of shard 1."""
        log = log_from_lines(raws)
        hub = cls(dict.fromkeys(log.shards, ()), log=log)
        for shard, events in log.shards.items():
            for event_id, line in zip(events.event_ids, events.raws, strict=True):
                hub.raws[shard].setdefault(height_of(event_id), []).append(line)
                hub.names |= _proved_names(line)
        hub.state.follow(log)
        fids = {event.fid for shard in log.shards for event in hub.state.chain.id_registers(shard)}
        hub.home = {s: tuple(sorted(f for f in fids if shard_of(f, len(log.shards)) == s)) for s in log.shards}
        hub.home[1] = (0, *hub.home[1])
        return hub

    def shard_of(self, fid: int) -> int:
        return next(shard for shard, fids in self.home.items() if fid in fids)

    def _home_of(self, fid: int) -> int:
        """Where the network would put an FID that the test gave no home."""
        return next((shard for shard, fids in self.home.items() if fid in fids), shard_of(fid, len(self.home)))

    def head(self, shard: int) -> int:
        """The height of the newest block."""
        return max(self.raws[shard], default=self.first_height - 1)

    def head_ids(self) -> dict[int, int]:
        """As /v1/info tells them: per shard the highest event id that its head can have."""
        return {shard: first_event_id(self.head(shard) + 1) - 1 for shard in self.home}

    def record_origins(self, engine: sa.Engine, *, begun_unix: int | None = None) -> None:
        """Have the ledger know where the hub's shards begin, as a run does; and when, if not as `add_block` has it."""
        with engine.begin() as connection:
            for shard, blocks in self.raws.items():
                first = min(blocks, default=self.first_height)
                at = datetime.fromtimestamp(HOUR_UNIX + first if begun_unix is None else begun_unix, UTC)
                ledger.record_origin(connection, ledger.ShardOrigin(shard, first, at, len(self.raws)))

    def blocks(self, shard: int) -> Blocks:
        return self.raws[shard]

    # What happens.

    def add_block(self, shard: int, operations: list[Json]) -> int:
        """Merge what the rules allow of messages, contract events, proofs and prunes; gives the block's height."""
        height = self.head(shard) + 1
        events: list[Event] = []
        due, self.names_due[shard] = self.names_due[shard], []
        for grant, operation in [(self._prove, one) for one in due] + [(self._granted, one) for one in operations]:
            for event in grant(shard, operation):
                events.append(event)
                # What it changes counts for the next operation already.
                event_id = first_event_id(height) + len(events)
                self.log.append(shard, block_of(height, [event_id], [raw(event, height, len(events), shard)]))
                self.state.follow(self.log)
        self.raws[shard][height] = block(height, events, shard, HOUR_UNIX + height)
        return height

    def transfer(self, name: str, fid: int, at: int, owner_signature: bytes) -> None:
        """The registry moves a name (to FID 0: releases it): each shard hears of it in a later block of its own."""
        self.names.add(name)
        for due in self.names_due.values():
            due.append(proof(name, fid, at, signature=owner_signature))

    def _prove(self, shard: int, new: Json) -> list[Event]:
        held = self.state.names.of_name(new["name"], [shard])
        if held is not None and (new["timestamp"], b64decode(new["signature"])) <= (
            held.timestamp,
            b64decode(held.signature),
        ):
            return []
        events = [merge_proof(new, _ANY.decode(held.raw) if held else None)]
        if held is not None and held.fid != new["fid"] and held.fid in self.home[shard]:
            shown = self.state.fids[held.fid].user_data.get("USER_DATA_TYPE_USERNAME")
            if shown is not None:
                events.append(revoke(_ANY.decode(shown.raw)))
        return events

    def is_registered(self, fid: int) -> bool:
        return bool(self.state.chain.of_fid(fid, "EVENT_TYPE_ID_REGISTER"))

    def _granted(self, shard: int, operation: Json) -> list[Event]:
        names_fid = operation.get("data", operation)
        fid: int = names_fid["prune"] if "prune" in names_fid else names_fid["fid"]
        if fid != CONTRACTS_FID and not self.is_registered(fid):
            return [merge_chain(registered(fid, self.head(shard)))]
        if "prune" in operation:
            return self._pruned(operation["prune"], operation["kind"])
        if "type" in operation and operation["type"].startswith("EVENT_TYPE_"):
            return [merge_chain(operation)]
        if operation.get("type", "").startswith("USERNAME_TYPE_"):
            return self._prove_ens(shard, operation)
        return self._merged(operation)

    def _pruned(self, fid: int, kind: str) -> list[Event]:
        """The oldest of a set goes."""
        rows = sorted(getattr(self.state.fids[fid], kind).values(), key=_age)
        return [prune(_ANY.decode(rows[0].raw))] if rows else []

    def _prove_ens(self, shard: int, new: Json) -> list[Event]:
        held = self.state.names.of_name(new["name"], [shard])
        if held is not None and held.timestamp >= new["timestamp"]:
            return []
        return [merge_proof(new, _ANY.decode(held.raw) if held else None)]

    def _merged(self, message: Json) -> list[Event]:
        data = message["data"]
        kind = data["type"].removeprefix("MESSAGE_TYPE_")
        sets = self.state.fids[data["fid"]]
        if kind == "LINK_COMPACT_STATE":
            held = sets.compact_states.get(data["linkCompactStateBody"]["type"])
            return [] if held and held.timestamp >= data["timestamp"] else [merge(message)]
        rows, key = _place(sets, kind, message)
        held = rows.get(key)
        is_add = not kind.endswith("_REMOVE")
        if held is not None and not _beats(message, is_add, held):
            return []
        if kind.startswith("LINK_") and self._is_compacted(message):
            return []
        return [merge(message, _ANY.decode(held.raw))] if held is not None else [merge(message)]

    def _is_compacted(self, message: Json) -> bool:
        data = message["data"]
        body = data["linkBody"]
        state = self.state.fids[data["fid"]].compact_states.get(body["type"])
        if state is None or data["timestamp"] > state.timestamp:
            return False
        targets = _ANY.decode(state.raw)["data"]["linkCompactStateBody"]["targetFids"]
        return data["type"].endswith("REMOVE") or body["targetFid"] not in targets

    # What it answers.

    def answers(self, fid: int) -> dict[str, list[Json]]:
        """All that the by-FID endpoints say now, decoded."""
        found: dict[str, list[Json]] = {}
        for kind, record in self.read(fid, page_size=1000):
            if kind not in ("", NAMES_ASKED):
                found.setdefault(kind, []).append(_ANY.decode(record))
        return found

    def read(self, fid: int, page_size: int) -> Iterator[Line]:
        """Records in the order of a client's requests; ("", b"") stands between two of them, when time may pass."""
        if fid == CONTRACTS_FID:
            events = self.state.chain.of_fid(fid, "EVENT_TYPE_SIGNER_MIGRATED")
            yield from (("on_chain_events", bytes(event.raw)) for event in events)
            return
        for kind in SETS:
            yield from self._pages(fid, kind, page_size)
            yield "", b""
        newest: dict[str, Any] = {}
        shards = sorted(self.home)
        for one in self.state.names.of_fid(fid, shards):
            if one.name not in newest or one.timestamp > newest[one.name].timestamp:
                newest[one.name] = one
        asked = sorted(self.names - newest.keys())
        for name in asked:
            hidden = self.state.names.of_name(name, shards)
            if hidden is not None and hidden.fid == fid:
                newest[name] = hidden
        yield from (("username_proofs", bytes(one.raw)) for one in newest.values())
        yield from ((NAMES_ASKED, name.encode()) for name in asked)
        for event_type in CHAIN_TYPES:
            yield "", b""
            yield from (("on_chain_events", bytes(e.raw)) for e in self.state.chain.of_fid(fid, event_type))

    def _pages(self, fid: int, kind: str, page_size: int) -> Iterator[Line]:
        last = b""
        while True:
            rows = sorted(
                (r for r in getattr(self.state.fids[fid], kind).values() if r.is_add or kind == "casts"),
                key=lambda r: r.sort_key,
            )
            page = [row for row in rows if row.sort_key > last][:page_size]
            yield from ((kind, bytes(row.raw)) for row in page)
            if len(page) < page_size:
                return
            last = page[-1].sort_key
            yield "", b""


def _proved_names(line: bytes) -> set[str]:
    if b"MERGE_USERNAME_PROOF" not in line:
        return set()
    body = _ANY.decode(line)["mergeUsernameProofBody"]
    return {body["usernameProof"]["name"]} if body.get("usernameProof") else set()


def _age(row: Row) -> tuple[int, str]:
    return row.timestamp, row.hash


def _place(sets: Any, kind: str, message: Json) -> tuple[dict[Any, Row], Any]:
    """The rows of a message's set, and its key among them."""
    data = message["data"]
    match kind.split("_")[0]:
        case "CAST":
            remove = data.get("castRemoveBody")
            return sets.casts, "0x" + b64decode(remove["targetHash"]).hex() if remove else message["hash"]
        case "REACTION":
            body = data["reactionBody"]
            cast = body.get("targetCastId")
            return sets.reactions, (body["type"], (cast["fid"], cast["hash"]) if cast else body["targetUrl"])
        case "LINK":
            return sets.links, (data["linkBody"]["type"], data["linkBody"]["targetFid"])
        case "USER":
            return sets.user_data, data["userDataBody"]["type"]
        case _:
            body = data.get("verificationAddAddressBody") or data["verificationRemoveBody"]
            return sets.verifications, body["address"]


def _beats(message: Json, is_add: bool, held: Row) -> bool:
    """Whether a message wins over the row that has its key (hub-api 7.1)."""
    data = message["data"]
    if data["type"].startswith("MESSAGE_TYPE_CAST"):
        if is_add:
            return False
        return held.is_add or (data["timestamp"], message["hash"]) > (held.timestamp, held.hash)
    return (data["timestamp"], not is_add, message["hash"]) > (held.timestamp, not held.is_add, held.hash)


def registered(fid: int, block_number: int, log_index: int = 0) -> Json:
    body = {"to": f"0x{fid:040x}", "eventType": "Register", "from": "0x", "recoveryAddress": "0x"}
    event = chain_event("id_register", fid, body, block=block_number, log_index=log_index)
    return {**event, "blockTimestamp": HOUR_UNIX + block_number - CONTRACT_DELAY_SECONDS}


def record_batch(snapshot: FidSnapshot, lines: list[Line]) -> pa.RecordBatch:
    """Records as the lake gives them back."""
    kept = [(kind, record) for kind, record in lines if kind] or [("none", b"")]
    columns = [
        [snapshot.fid] * len(kept),
        [snapshot.shard] * len(kept),
        [snapshot.version] * len(kept),
        [kind for kind, _ in kept],
        [record for _, record in kept],
        [snapshot.fetched_at] * len(kept),
    ]
    arrays = [pa.array(values, type=one.type) for values, one in zip(columns, SNAPSHOT_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SNAPSHOT_SCHEMA)


@dataclass
class Reading:
    """A snapshot while it is read: `step` asks the next page, whatever has happened meanwhile."""

    hub: SmallHub
    fid: int
    page_size: int = 2

    def __post_init__(self) -> None:
        self.ids_before = self.hub.head_ids()
        self.ids_after: dict[int, int] = {}
        self.lines: list[Line] = []
        self._pages: Generator[Line] | Iterator[Line] = self.hub.read(self.fid, self.page_size)

    def step(self) -> bool:
        """Read on to the next pause; whether there is more to read."""
        for line in self._pages:
            if not line[0]:
                return True
            self.lines.append(line)
        self.ids_after = self.hub.head_ids()
        return False

    def finish(self) -> "Reading":
        while self.step():
            pass
        return self

    @property
    def snapshot(self) -> FidSnapshot:
        shard = self.hub.shard_of(self.fid)
        return FidSnapshot(self.fid, shard, self.ids_before[shard], self.ids_after[shard], FETCHED_AT)

    @property
    def records(self) -> pa.RecordBatch:
        return record_batch(self.snapshot, self.lines)
