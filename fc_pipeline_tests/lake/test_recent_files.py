"""Joining what one writer has just stored, out of its memory."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hours import Hour
from fc_pipeline.lake import recent_files
from fc_pipeline.lake.event_log import EVENT_LOG_SCHEMA, EventLog, LogFile, events_table
from fc_pipeline.lake.recent_files import JOINED_BYTES, JOINED_FILES, FileGroup, RecentFiles
from fc_pipeline_tests.support.events import FIRST_HEIGHT, HOUR_UNIX, blocks_of, cast_add, event_batch, merge

HOUR = Hour(HOUR_UNIX)
NO_EVENTS = EVENT_LOG_SCHEMA.empty_table()


def file_at(height: int, shard: int = 1, hour: Hour = HOUR) -> LogFile:
    return LogFile(shard, height, height, hour, f"{hour.folder}/{shard}/{height}", 1)


def heights(groups: list[FileGroup]) -> list[list[int]]:
    return [[file.from_height for file in group.files] for group in groups]


def test_a_minute_of_files_is_one_group_per_shard() -> None:
    recent = RecentFiles()
    due: list[FileGroup] = []
    for height in range(2 * JOINED_FILES + 5):
        for shard in (1, 2):
            due += recent.add(file_at(height, shard), NO_EVENTS)
    assert [(group.files[0].shard, len(group.files)) for group in due] == [(s, JOINED_FILES) for s in (1, 2, 1, 2)]
    assert [(group.files[0].shard, len(group.files)) for group in recent.take_all()] == [(1, 5), (2, 5)]
    assert recent.take_all() == []


def test_another_hour_or_a_hole_ends_a_group() -> None:
    recent = RecentFiles()
    assert [recent.add(file_at(height), NO_EVENTS) for height in (1, 2, 3)] == [[], [], []]
    assert heights(recent.add(file_at(5), NO_EVENTS)) == [[1, 2, 3]]
    assert recent.add(file_at(6), NO_EVENTS) == []
    assert heights(recent.add(file_at(7, hour=HOUR.next), NO_EVENTS)) == [[5, 6]]
    assert recent.add(file_at(9, hour=HOUR.next), NO_EVENTS) == []  # one file alone is joined to nothing
    assert recent.take_all() == []


def test_memory_is_bounded() -> None:
    recent = RecentFiles()
    large = pa.table({"event": pa.array([b"x" * (JOINED_BYTES // 4 + 1)], type=pa.binary())})
    medium = pa.table({"event": pa.array([b"x" * (JOINED_BYTES // 5)], type=pa.binary())})
    assert recent.add(file_at(1), NO_EVENTS) == []
    assert recent.add(file_at(2), NO_EVENTS) == []
    assert heights(recent.add(file_at(3), large)) == [[1, 2]]
    assert recent.add(file_at(4), large) == []
    assert [heights(recent.add(file_at(height), medium)) for height in range(5, 10)] == [[]] * 4 + [[[5, 6, 7, 8, 9]]]
    assert recent.take_all() == []


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3), st.booleans()), max_size=60))
def test_each_file_is_in_one_group_at_most_and_groups_are_adjacent(steps: list[tuple[int, int, bool]]) -> None:
    recent = RecentFiles()
    at = {1: 0, 2: 0}
    hours = {1: HOUR, 2: HOUR}
    groups: list[FileGroup] = []
    added = 0
    for shard, step, is_next_hour in steps:
        at[shard] += step
        if is_next_hour:
            hours[shard] = hours[shard].next
        groups += recent.add(file_at(at[shard], shard, hours[shard]), NO_EVENTS)
        added += 1
    groups += recent.take_all()
    joined = [file for group in groups for file in group.files]
    assert len(joined) == len(set(joined)) <= added
    for group in groups:
        files = group.files
        assert len(files) > 1
        assert [file.from_height for file in files] == list(range(files[0].from_height, files[-1].to_height + 1))
        assert len({(file.shard, file.hour) for file in files}) == 1


def test_the_joined_file_has_what_the_small_ones_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_files, "JOINED_FILES", 4)
    log, recent = EventLog.open(str(tmp_path)), RecentFiles()
    due: list[FileGroup] = []
    batches = [
        event_batch(blocks_of([merge(cast_add(7, f"text {n}"))] * n, first_height=FIRST_HEIGHT + n)) for n in range(6)
    ]
    for batch in batches:
        due += recent.add(log.write(batch, HOUR), events_table(batch))
    before = [pair for one in log.read(log.files(HOUR, 1)) for pair in zip(one.event_ids, one.raws, strict=True)]
    for group in [*due, *recent.take_all()]:
        group.join(log)
    assert [(file.from_height, file.to_height) for file in log.files(HOUR, 1)] == [
        (FIRST_HEIGHT, FIRST_HEIGHT + 3),
        (FIRST_HEIGHT + 4, FIRST_HEIGHT + 5),
    ]
    after = [pair for one in log.read(log.files(HOUR, 1)) for pair in zip(one.event_ids, one.raws, strict=True)]
    assert after == before
