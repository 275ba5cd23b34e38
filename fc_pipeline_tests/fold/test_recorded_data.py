"""Recorded hub data through decoder and fold: the tables say what the hub's by-FID endpoints say."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fc_pipeline.fold.micro_batch import MicroBatch, prepare
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.event_batch import EventBatch, block_times_of
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.answers import (
    check_answers_of_the_recorded_hub,
    check_recorded_messages,
    hashed,
    messages_of,
    pinata,
    recorded_blocks,
)
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR,
    HOUR_UNIX,
    Event,
    block,
    blocks_of,
    merge,
    merge_chain,
    micro_batch,
    raw,
)
from fc_pipeline_tests.support.folded import FoldedDatabase

BLOCKS_PER_BATCH = 7


def batches(raws: Iterable[bytes]) -> list[MicroBatch]:
    """A log without BLOCK_CONFIRMED → micro-batches of a few blocks; block times are made up."""
    by_height: dict[int, list[bytes]] = defaultdict(list)
    for one in raws:
        by_height[json.loads(one)["id"] >> 14].append(one)
    heights = sorted(by_height)
    made: list[MicroBatch] = []
    for at in range(0, len(heights), BLOCKS_PER_BATCH):
        cut = heights[at : at + BLOCKS_PER_BATCH]
        cut_raws = [one for height in cut for one in by_height[height]]
        ids, events, undecodable = decode_events(cut_raws)
        times = {height: HOUR_UNIX + height - heights[0] for height in cut} | block_times_of(events)
        batch = EventBatch(1, cut[0], cut[-1], cut_raws, ids, events, undecodable, times)
        made.append(prepare(batch, partition=HOUR, hour_unix=HOUR_UNIX, tables=DATA_TABLES, shard_count=None))
    return made


def fold_all(replica: FoldedDatabase, made: list[MicroBatch]) -> None:
    with FoldSession(replica.url, "recorded") as session:
        for one in made:
            session.fold(one)


def test_the_folded_log_of_a_real_hub_equals_its_by_fid_answers(replica: FoldedDatabase, shared_fixtures: Path) -> None:
    hub = shared_fixtures / "hubble"
    with gzip.open(hub / "snapchain_shape" / "events.ndjson.gz") as lines:
        raws = [line.rstrip(b"\n") for line in lines]
    made = batches(raws)
    fold_all(replica, made)
    assert sum(one.events for one in made) == 1_999

    check_answers_of_the_recorded_hub(replica, hub, raws)


def test_the_recorded_hub_log_folded_backwards_is_the_same(replica: FoldedDatabase, shared_fixtures: Path) -> None:
    with gzip.open(shared_fixtures / "hubble" / "snapchain_shape" / "events.ndjson.gz") as lines:
        made = batches(line.rstrip(b"\n") for line in lines)
    fold_all(replica, made)
    forwards = replica.dump()
    replica.empty()
    fold_all(replica, made[::-1])
    assert replica.dump() == forwards


def test_recorded_casts_and_profiles_of_the_live_network_land_whole(
    replica: FoldedDatabase, shared_fixtures: Path
) -> None:
    messages = pinata(shared_fixtures)
    blocks = {height: block(height, events) for height, events in recorded_blocks(messages).items()}
    middle = FIRST_HEIGHT + len(blocks) // 2
    with FoldSession(replica.url, "recorded") as session:
        session.fold(micro_batch(blocks, last=middle))
        session.fold(micro_batch(blocks, first=middle + 1))
    check_recorded_messages(replica, messages)


def every_message(folder: Path) -> list[Any]:
    found: list[Any] = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_bytes())
        for m in content.get("messages", [content]):
            found += [m] if "hash" in m and "data" in m else []
    return found


def test_documented_and_transcribed_messages_land_or_are_set_aside(
    replica: FoldedDatabase, shared_fixtures: Path
) -> None:
    """The documentation shortens some signatures, which is not base64: those, and only those, go to quarantine."""
    http = shared_fixtures / "recorded" / "hub-http"
    messages = [m for name in ("docs-examples-snapchain-v0.14", "transcribed") for m in every_message(http / name)]
    chain = [
        e
        for path in sorted((http / "docs-examples-snapchain-v0.14").glob("onchain__*.json"))
        for e in json.loads(path.read_bytes()).get("events", [json.loads(path.read_bytes())])
        if "transactionHash" in e
    ]
    replica.fold([*map(merge, messages), *map(merge_chain, chain)])
    landed = {
        row[0]
        for table in ("casts", "reactions", "links", "verifications", "user_data")
        for row in replica.rows(f"SELECT hash FROM {table}")
    }
    shortened = {hashed(m) for m in messages if "..." in m["signature"] + m["signer"]}
    assert landed == {hashed(m) for m in messages} - shortened
    assert len(shortened) > 5
    assert len(landed) > 4
    assert {reason for _, reason in replica.quarantined()} == {"invalid"}
    assert len(replica.quarantined()) == sum(hashed(m) in shortened for m in messages)
    assert len(replica.rows("SELECT 1 FROM on_chain_events")) == len({e["transactionHash"] for e in chain})


def fold_as_they_are(replica: FoldedDatabase, raws: list[bytes]) -> None:
    fold_all(replica, batches(raws))


def compact(events: list[Event]) -> list[bytes]:
    return [json.dumps(e, separators=(",", ":"), ensure_ascii=False).encode() for e in events]


def test_a_real_page_of_snapchain_events_lands(replica: FoldedDatabase, shared_fixtures: Path) -> None:
    events = messages_of(
        shared_fixtures / "recorded/hub-http/transcribed/lazy-indexer-v2_events_2025-07-03.json", "events"
    )
    fold_as_they_are(replica, compact(events))
    assert replica.quarantined() == []
    live = {
        row[0]
        for table in ("casts", "reactions", "user_data")
        for row in replica.rows(f"SELECT hash FROM {table} WHERE deleted_at IS NULL")
    }
    assert live == {hashed(e["mergeMessageBody"]["message"]) for e in events}


def test_types_younger_than_the_recorded_hub(replica: FoldedDatabase, shared_fixtures: Path) -> None:
    events = messages_of(shared_fixtures / "hubble" / "library_newtypes" / "events.json", "events")
    fold_as_they_are(replica, compact(events))
    assert replica.quarantined() == []
    kinds = {row[0] for row in replica.rows("SELECT type FROM user_data WHERE deleted_at IS NULL")}
    assert kinds == {
        "location",
        "twitter",
        "github",
        "banner",
        "primary_address_ethereum",
        "primary_address_solana",
        "profile_token",
    }
    assert {row[0] for row in replica.rows("SELECT type FROM casts")} == {"long_cast", "ten_k_cast", "cast"}
    assert {row[0] for row in replica.rows("SELECT type FROM on_chain_events")} == {"tier_purchase"}
    assert {row[0] for row in replica.rows("SELECT type FROM username_proofs")} == {"basename"}
    assert len(replica.rows("SELECT 1 FROM pipeline.link_compactions")) == 3


def test_hubble_events_as_hubble_sends_them(replica: FoldedDatabase, shared_fixtures: Path) -> None:
    """The same 1,999 events in Hubble's own dialect give the same live rows."""
    folder = shared_fixtures / "hubble"
    with gzip.open(folder / "snapchain_shape" / "events.ndjson.gz") as lines:
        fold_all(replica, batches(line.rstrip(b"\n") for line in lines))
    tables = ("casts", "reactions", "links", "verifications", "user_data", "username_proofs")
    key = {"username_proofs": "name, owner, fid"}
    shape = {t: replica.live(t, key.get(t, "hash, fid, signature")) for t in tables}
    replica.empty()
    events = [e for page in sorted(folder.glob("events/page_*.json")) for e in messages_of(page, "events")]
    raws = [
        raw({**e, "id": 0, "shardIndex": 1} | {"id": FIRST_HEIGHT + n // 50 << 14 | n % 50 + 1}, 0, 0)
        for n, e in enumerate(events)
    ]
    fold_as_they_are(replica, raws)
    assert {t: replica.live(t, key.get(t, "hash, fid, signature")) for t in tables} == shape
    assert len(events) == 1_999


def test_blocks_of_keeps_the_hubs_order() -> None:
    blocks = blocks_of([merge({"n": 1}), merge({"n": 2})], [])
    assert [json.loads(r)["id"] & 16383 for r in blocks[FIRST_HEIGHT]] == [0, 1, 2]
    assert [json.loads(r)["type"] for r in blocks[FIRST_HEIGHT + 1]] == ["HUB_EVENT_TYPE_BLOCK_CONFIRMED"]
