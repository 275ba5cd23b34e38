"""Minutes of the live network into an empty database: complete with proof, fresh, and as the hub's by-FID answers."""

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Any, Final

import msgspec
import pytest
from dagster import AssetCheckSeverity

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.progress import HourProgress, Progress
from fc_pipeline.heights import holes
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.hub.clock import HubClock
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.reads import ReadEndpoints
from fc_pipeline.hub.wire import HubEvent, Message, height_of
from fc_pipeline.orchestration.checks.raw_log import evaluate_files, evaluate_raw_log
from fc_pipeline.replica import Replica
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.status.health import FreshnessFinding, freshness
from fc_pipeline.store import ledger
from fc_pipeline.store.ledger import ShardOrigin
from fc_pipeline_tests.live.conftest import LiveHub
from fc_pipeline_tests.support.answers import ANSWERS, cast_rows, cast_values, hashed, live_rows
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import OUTPUTS, Workbench, workbench

MAX_LAG_SECONDS: Final = 30
MAX_BLOCKS_BEHIND: Final = 30
FIDS_PER_TABLE: Final = 3
MAX_PAGES: Final = 12
"""Of one list of one user: 12,000 messages."""

READERS: Final[dict[str, Callable[[ReadEndpoints, int], AsyncIterator[list[bytes]]]]] = {
    "casts": lambda reads, fid: reads.casts_by_fid(fid),
    "reactions": lambda reads, fid: reads.reactions_by_fid(fid),
    "links": lambda reads, fid: reads.links_by_fid(fid),
    "verifications": lambda reads, fid: reads.verifications_by_fid(fid),
    "user_data": lambda reads, fid: reads.user_data_by_fid(fid),
}
ADD_TYPES: Final = {
    "MESSAGE_TYPE_CAST_ADD": "casts",
    "MESSAGE_TYPE_REACTION_ADD": "reactions",
    "MESSAGE_TYPE_LINK_ADD": "links",
    "MESSAGE_TYPE_VERIFICATION_ADD_ETH_ADDRESS": "verifications",
    "MESSAGE_TYPE_USER_DATA_ADD": "user_data",
}


@dataclass
class Lags:
    """Age of each micro-batch's last block when it was committed, in seconds."""

    seconds: list[float] = field(default_factory=list)
    _last_block_unix: dict[int, int] = field(default_factory=dict)

    def note(self, hour: HourProgress) -> None:
        for shard, unix in hour.last_block_unix.items():
            if unix > self._last_block_unix.get(shard, 0):
                self._last_block_unix[shard] = unix
                self.seconds.append(time.time() - unix)


@dataclass(frozen=True)
class Synced:
    """A replica that followed the network: where it began, and where the hub was when the last run began."""

    bench: Workbench
    origins: dict[int, ShardOrigin]
    heads: dict[int, int]
    fresh: FreshnessFinding
    hours: list[Hour]

    @property
    def replica(self) -> Replica:
        return self.bench.replica


@pytest.fixture(scope="module")
def synced(
    hub: LiveHub,
    minutes: float,
    postgres: EmbeddedPostgres,
    tmp_path_factory: pytest.TempPathFactory,
    facts: list[str],
) -> Iterator[Synced]:
    """A replica of what happened since FC_LIVE_MINUTES ago, followed for as long, and then drained to the head."""
    lags = Lags()
    lake = tmp_path_factory.mktemp("live") / "lake"
    headers = {"*": hub.settings.hub_headers_for(hub.url)}
    rps = hub.settings.hub_rps_for(hub.url)
    with (
        fresh_database(postgres) as database,
        workbench(database, lake, hub.url, hub_headers=headers, hub_rps=rps) as bench,
    ):
        origins = begin_at(hub, bench, time.time() - minutes * 60)
        bench.run("follow", window_since(origins), progress=Progress(lags.note), follow_seconds=minutes * 60)
        fresh = freshness(bench.replica)
        heads = {shard: hub.ask(HubClock(hub.reads, shard).head())[0] for shard in hub.shards}
        bench.run("catch-up", window_since(origins))
        facts.append(described(bench, lags))
        yield Synced(bench, origins, heads, fresh, bench.replica.log.hours())


def begin_at(hub: LiveHub, bench: Workbench, unix_seconds: float) -> dict[int, ShardOrigin]:
    """Record that the replica begins there: FC_START knows full hours only."""
    origins: dict[int, ShardOrigin] = {}
    for shard in hub.shards:
        clock = HubClock(hub.reads, shard)
        height = hub.ask(clock.first_height_at(int(unix_seconds)))
        at = datetime.fromtimestamp(hub.ask(clock.time_of(height)), UTC)
        origins[shard] = ShardOrigin(shard, height, at, hub.info.numShards)
    with bench.replica.engine.begin() as connection:
        for origin in origins.values():
            ledger.record_origin(connection, origin)
    return origins


def window_since(origins: dict[int, ShardOrigin]) -> HourWindow:
    """From the first origin's hour to the one after the present one, which may begin at any moment."""
    first = min(origin.at.timestamp() for origin in origins.values())
    return HourWindow(Hour.of(first), Hour.of(time.time() + HOUR_SECONDS))


def described(bench: Workbench, lags: Lags) -> str:
    (found,) = bench.rows(
        "SELECT sum(events) AS events, sum(confirmed_events) - sum(events) AS unsent, sum(rows_written) AS rows, "
        "sum(to_height - from_height + 1) AS blocks FROM pipeline.coverage"
    )
    in_order = sorted(lags.seconds)
    late = in_order[math.ceil(len(in_order) * 0.95) - 1]
    return (
        f"synced {found.blocks:,} blocks, {found.events:,} events ({found.unsent} more were announced, hub-api T10), "
        f"{found.rows:,} rows; lag of {len(in_order)} micro-batches: median {median(in_order):.1f} s, 95 % {late:.1f} s"
    )


def test_the_ledger_has_no_hole_from_the_first_minute_to_the_head(synced: Synced) -> None:
    ranges = synced.bench.ledger()
    assert [shard for shard, _, _ in ranges] == sorted(synced.origins), "one range per shard"
    for shard, first, last in ranges:
        assert first == synced.origins[shard].height
        assert last >= synced.heads[shard]
    with synced.replica.engine.connect() as connection:
        for shard, first, _ in ranges:
            written = ledger.covered(connection, shard, tables=OUTPUTS)
            assert holes(written, first, synced.heads[shard]) == []


def test_the_minutes_asked_for_are_there(synced: Synced, minutes: float) -> None:
    for shard, last_at in synced.bench.rows("SELECT shard, max(last_block_at) FROM pipeline.coverage GROUP BY 1"):
        assert (last_at - synced.origins[shard].at).total_seconds() >= minutes * 60


def test_blocks_are_those_that_were_confirmed(synced: Synced) -> None:
    logged = synced.bench.logged()
    for shard, first, last in synced.bench.ledger():
        _, events, undecodable = decode_events(logged[shard])
        confirmed = [event.height for event in events if event.blockConfirmedBody is not None]
        assert confirmed == list(range(first, last + 1))
        announced = {event.height: event.blockConfirmedBody.totalEvents for event in events if event.blockConfirmedBody}
        read = dict.fromkeys(announced, 0)
        for event_id in [event.id for event in events] + [bad.near_id for bad in undecodable]:
            read[height_of(event_id)] += 1
        assert [height for height in read if read[height] > announced[height]] == []


def test_the_checks_that_dagster_shows_pass(synced: Synced) -> None:
    results = [*evaluate_raw_log(synced.replica), evaluate_files(synced.replica)]
    failed = [result for result in results if not result.passed and result.severity == AssetCheckSeverity.ERROR]
    assert failed == []
    assert results


def test_the_replica_was_fresh_while_it_followed(synced: Synced) -> None:
    assert max(synced.fresh.blocks_behind.values()) <= MAX_BLOCKS_BEHIND
    assert max(synced.fresh.lag_seconds.values()) <= MAX_LAG_SECONDS


def test_users_seen_in_the_feed_are_as_the_hub_answers(synced: Synced, hub: LiveHub, facts: list[str]) -> None:
    """What the tables have of them the hub has, and what the feed merged and the hub still has is in the tables.

    Users who do something while the hub is asked are left out: their answers are of another moment than the tables.
    """
    chosen = users_of(merged_messages(synced.bench))
    before = {shard: last for shard, _, last in synced.bench.ledger()}
    answers = {name: all_answers(hub, name, chosen) for name in READERS}
    synced.bench.run("after-asking", window_since(synced.origins))

    quiet = sorted(set(chosen) - active_above(synced.bench, before))
    merged = merged_messages(synced.bench)
    unfit = quarantined(synced.bench)
    compared = 0
    for name in READERS:
        there = {key: values for key, values in answers[name].items() if values[0] in quiet}
        rows = casts_of(synced.bench, quiet) if name == "casts" else live_rows(synced.bench.tables, name, quiet)
        assert {key: there.get(key) for key in rows} == rows, f"{name}: the hub has no such row, or another"
        fed = {key for key, message in merged.items() if ADD_TYPES.get(message.data.type) == name}
        assert (fed & there.keys()) - unfit <= rows.keys(), f"{name}: the hub has what the tables lost"
        compared += len(rows)
    facts.append(f"{len(quiet)} users seen in the feed: {compared} rows, all as the hub answers by FID")
    assert compared > 0


def merged_messages(bench: Workbench) -> dict[bytes, Message]:
    """By hash, what the raw log says was merged."""
    merged: dict[bytes, Message] = {}
    for raws in bench.logged().values():
        for event in decode_events(raws)[1]:
            if event.mergeMessageBody is not None:
                message = event.mergeMessageBody.message
                merged[bytes.fromhex(message.hash[2:])] = message
    return merged


def users_of(merged: dict[bytes, Message]) -> list[int]:
    """Of each table a few of those who wrote to it least: asking for them is cheap, and they are quiet."""
    chosen: set[int] = set()
    for name in READERS:
        counts: dict[int, int] = {}
        for message in merged.values():
            if ADD_TYPES.get(message.data.type) == name:
                counts[message.data.fid] = counts.get(message.data.fid, 0) + 1
        rare = sorted(counts, key=lambda fid: (counts[fid], fid))
        chosen.update(islice((fid for fid in rare if fid not in chosen), FIDS_PER_TABLE))
    assert chosen, "nothing was merged in these minutes"
    return sorted(chosen)


def all_answers(hub: LiveHub, name: str, fids: list[int]) -> dict[bytes, tuple[Any, ...]]:
    """By hash, the values of the users' adds as the hub answers."""
    values_of = cast_values if name == "casts" else ANSWERS[name][1]
    found: dict[bytes, tuple[Any, ...]] = {}
    for fid in fids:
        messages = [msgspec.json.decode(raw) for raw in hub.items(READERS[name](hub.reads, fid), MAX_PAGES)]
        found |= {hashed(m): values_of(m) for m in messages if ADD_TYPES.get(m["data"]["type"]) == name}
    return found


def casts_of(bench: Workbench, fids: list[int]) -> dict[bytes, tuple[Any, ...]]:
    return {key: values for key, values in cast_rows(bench.tables).items() if values[0] in fids}


def active_above(bench: Workbench, heights: dict[int, int]) -> set[int]:
    """Who has a message in an event above these heights."""
    active: set[int] = set()
    for shard, raws in bench.logged().items():
        for event in decode_events(raws)[1]:
            if event.height > heights[shard]:
                active.update(message.data.fid for message in messages_in(event))
    return active


def messages_in(event: HubEvent) -> list[Message]:
    bodies = (event.mergeMessageBody, event.pruneMessageBody, event.revokeMessageBody)
    return [body.message for body in bodies if body is not None]


def quarantined(bench: Workbench) -> set[bytes]:
    """Hashes of merged messages that no table can hold."""
    raws = [row.raw for row in bench.rows("SELECT raw FROM pipeline.quarantine WHERE reason <> 'nul_removed'")]
    bodies = [event.mergeMessageBody for event in decode_events([raw for raw in raws if raw])[1]]
    return {bytes.fromhex(body.message.hash[2:]) for body in bodies if body is not None}
