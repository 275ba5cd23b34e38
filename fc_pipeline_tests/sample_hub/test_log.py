import gzip
from pathlib import Path

import pytest

from fc_pipeline.errors import ConfigError
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import load_log, log_from_lines
from fc_pipeline_tests.sample_hub.replay import Replay


def test_plain_and_packed_files_give_the_same_log(tmp_path: Path, lines: list[bytes]):
    content = b"\n".join(lines) + b"\n"
    plain, packed = tmp_path / "log.ndjson", tmp_path / "log.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content, 1))
    first, second = load_log(plain), load_log(packed)
    assert first.shards[1].raws == second.shards[1].raws
    assert first.events == len(lines)
    assert first.shards[1].raws == [line for line in lines if line.endswith(b'"shardIndex":1}')]


def test_lines_in_any_order_and_twice_give_the_same_shards(lines: list[bytes]):
    shuffled = log_from_lines([*reversed(lines), *lines[:50]])
    assert shuffled.shards[1].raws == log_from_lines(lines).shards[1].raws


@pytest.mark.parametrize(
    "broken",
    [b"not json", b'{"type":"x"}', b'{"id":1}', b"[]", b'{"type":"x","id":-1}', b'{"type":"x","id":1,"shardIndex":"1"}',
     b"\xff\xfe"],
)  # fmt: skip
def test_a_line_that_is_no_event_is_named(tmp_path: Path, lines: list[bytes], broken: bytes):
    path = tmp_path / "log.ndjson"
    path.write_bytes(b"\n".join([*lines[:3], broken, *lines[3:5]]))
    with pytest.raises(ConfigError, match=r"log\.ndjson, line 4: not a hub event"):
        load_log(path)


def test_other_files_are_refused_with_their_name(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"missing\.ndjson"):
        load_log(tmp_path / "missing.ndjson")
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(b"x" * 10_000)[:-20])
    with pytest.raises(ConfigError, match=r"torn\.gz"):
        load_log(torn)


def test_one_id_with_two_contents_is_refused(lines: list[bytes]):
    with pytest.raises(ConfigError, match="occurs twice with different content"):
        log_from_lines([*lines[:3], lines[1].replace(b"}", b" }", 1)])


def test_retention_drops_whole_blocks_but_no_message(lines: list[bytes]):
    log = log_from_lines(lines)
    shard = log.shards[1]
    newest = shard.newest_unix or 0
    hub = SampleHub(log, clock=lambda: newest, retention_seconds=100)
    events_before, head = shard.visible_end, shard.head_height
    hub.advance()
    assert shard.event_ids[0] & 16383 == 0
    assert shard.head_height == head
    assert shard.event_ids[0] >> 14 == head - 100
    assert shard.dropped_events + shard.visible_end == events_before
    replay = Replay(lines)
    assert set(hub.state.fids[1].casts) >= set(replay.of_fid(1, "CAST_ADD"))
    hub.advance()
    assert shard.event_ids[0] >> 14 == head - 100
