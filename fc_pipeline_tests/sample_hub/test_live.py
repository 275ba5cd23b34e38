import json
from pathlib import Path

import httpx
import pytest

from fc_pipeline.errors import ConfigError
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.live import Endless, Reveal
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.sample_hub.state import HubState
from fc_pipeline_tests.sample_hub.replay import Replay
from fc_pipeline_tests.support.referee import Referee

START = 1_800_000_000.0


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def visible(log: EventLog) -> list[bytes]:
    return [raw for shard in log.shards.values() for raw in shard.raws[: shard.visible_end]]


def without_time(raw: bytes) -> object:
    event = json.loads(raw)
    event.get("blockConfirmedBody", {}).pop("timestamp", None)
    return event


def test_reveal_shows_blocks_in_order_and_stamps_them(lines: list[bytes]):
    log, clock = log_from_lines(lines), Clock()
    hub = SampleHub(log, growth=Reveal(log, events_per_second=100, start_unix=START), clock=clock)
    with serving(log, growth=Reveal(log, events_per_second=100, start_unix=START), clock=clock) as base_url:
        assert httpx.get(f"{base_url}/v1/events").json() == {"events": []}
        clock.now = START + 30.5
        events = httpx.get(f"{base_url}/v1/events?page_size=100000").json()["events"]
        info = httpx.get(f"{base_url}/v1/info").json()
    assert 2900 < len(events) <= 3050
    whole = {shard.shard: shard.raws for shard in log_from_lines(lines).shards.values()}
    for shard in (1, 2):
        mine = [event for event in events if event["shardIndex"] == shard]
        assert [without_time(json.dumps(e).encode()) for e in mine] == [
            without_time(raw) for raw in whole[shard][: len(mine)]
        ]
        times = [e["blockConfirmedBody"]["timestamp"] for e in mine if "blockConfirmedBody" in e]
        assert times == sorted(times)
        assert START <= times[0] + FARCASTER_EPOCH_UNIX <= times[-1] + FARCASTER_EPOCH_UNIX <= clock.now
        blocks = [json.loads(raw)["id"] >> 14 for raw in whole[shard]]
        assert blocks.count(mine[-1]["id"] >> 14) == sum(e["id"] >> 14 == mine[-1]["id"] >> 14 for e in mine)
    assert all(entry["blockDelay"] <= 1 for entry in info["shardInfos"])
    clock.now = START + 1e6
    hub.advance()
    assert len(visible(log)) == len(lines)


def test_the_message_sets_know_only_what_is_visible(lines: list[bytes]):
    log, clock = log_from_lines(lines), Clock()
    hub = SampleHub(log, growth=Reveal(log, events_per_second=100, start_unix=START), clock=clock)
    for seconds in (0, 11, 47, 1e6):
        clock.now = START + seconds
        hub.advance()
        replay = Replay(visible(log))
        for fid in (1, 2, 3, 20):
            held = [row.hash for row in hub.state.fids[fid].casts.values()]
            assert sorted(held) == sorted(replay.of_fid(fid, "CAST_ADD", "CAST_REMOVE"))


def test_a_frozen_hub_stands_still(lines: list[bytes]):
    log, clock = log_from_lines(lines), Clock()
    hub = SampleHub(log, growth=Reveal(log, events_per_second=100, start_unix=START), clock=clock)
    clock.now = START + 10
    hub.advance()
    before = len(visible(log))
    hub.faults.frozen = True
    clock.now = START + 60
    hub.advance()
    assert len(visible(log)) == before > 0
    hub.faults.frozen = False
    hub.advance()
    assert len(visible(log)) > before


def test_endless_goes_on_as_the_protocol_wants(lines: list[bytes]):
    log = log_from_lines(lines)
    heads = {shard: rows.head_height for shard, rows in log.shards.items()}
    growth = Endless(log, events_per_second=60, start_unix=START, seed=5)
    growth.advance(log, START - 1)
    assert len(visible(log)) == len(lines)
    growth.advance(log, START + 99.9)
    assert {shard: rows.head_height for shard, rows in log.shards.items()} == {s: h + 100 for s, h in heads.items()}
    added = len(visible(log)) - len(lines)
    assert added == pytest.approx(6000, abs=60)
    assert log.shards[1].newest_unix == START + 99
    referee = Referee()
    for raw in lines:
        referee.evaluate(raw)
    placed = [raw for shard in log.shards.values() for raw in shard.raws]
    live = sorted(set(placed) - set(lines), key=lambda raw: (json.loads(raw)["shardIndex"], json.loads(raw)["id"]))
    for raw in live:
        referee.evaluate(raw)
    state = HubState()
    state.follow(log)
    assert not state.unreadable


def test_endless_over_nothing_starts_a_network():
    log = EventLog()
    growth = Endless(log, events_per_second=30, start_unix=START)
    growth.advance(log, START + 20)
    referee = Referee()
    for shard in sorted(log.shards):
        for raw in log.shards[shard].raws:
            referee.evaluate(raw)
    assert referee.seen["EVENT_TYPE_ID_REGISTER"] >= 20


def test_a_recorded_hub_never_goes_back_in_time(tmp_path: Path, lines: list[bytes]):
    record = tmp_path / "live" / "record.ndjson"
    log = log_from_lines(lines)
    Endless(log, events_per_second=20, start_unix=START, record=record).advance(log, START + 10)
    again = log_from_lines(lines)
    growth = Endless(again, events_per_second=20, start_unix=START + 60, record=record)
    assert visible(again) == visible(log)
    growth.advance(again, START + 65)
    heights = [json.loads(raw)["id"] >> 14 for raw in again.shards[1].raws]
    assert sorted(set(heights)) == list(range(heights[0], heights[-1] + 1))
    assert len(set(visible(again))) == len(visible(again))


@pytest.mark.parametrize("cut_bytes", [1, 700, 2500])
def test_a_second_cut_short_by_a_crash_is_cut_off_whole(tmp_path: Path, lines: list[bytes], cut_bytes: int):
    record = tmp_path / "record.ndjson"
    log = log_from_lines(lines)
    Endless(log, events_per_second=20, start_unix=START, record=record).advance(log, START + 5)
    whole = record.read_bytes()
    record.write_bytes(whole[:-cut_bytes])
    again = log_from_lines(lines)
    growth = Endless(again, events_per_second=20, start_unix=START + 20, record=record)
    left = record.read_bytes()
    assert whole.startswith(left)
    assert len(left) < len(whole) - cut_bytes
    heads = {shard: rows.head_height for shard, rows in again.shards.items()}
    assert len({height - log.shards[shard].head_height for shard, height in heads.items()}) == 1
    growth.advance(again, START + 21)
    assert record.read_bytes().startswith(left)


def test_a_record_of_another_log_is_refused(tmp_path: Path, lines: list[bytes]):
    record = tmp_path / "record.ndjson"
    log = log_from_lines(lines)
    Endless(log, events_per_second=20, start_unix=START, record=record).advance(log, START + 5)
    with pytest.raises(ConfigError, match="starts at height"):
        Endless(log_from_lines(lines[:100]), events_per_second=20, start_unix=START, record=record)
    record.write_text("not json\n")
    with pytest.raises(ConfigError, match="not a record"):
        Endless(log_from_lines(lines), events_per_second=20, start_unix=START, record=record)
