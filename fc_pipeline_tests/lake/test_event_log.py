import random
import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fc_pipeline.errors import LakeError, LakeUnreachable
from fc_pipeline.hours import Hour
from fc_pipeline.hub.event_batch import EventBatch, Undecodable
from fc_pipeline.lake.event_log import EventLog, LogFile
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline_tests.support.events import FIRST_HEIGHT, HOUR_UNIX, blocks_of, cast_add, event_batch, merge

HOUR = Hour(HOUR_UNIX)
NAMELESS = b'{"neither":"id","nor":"type"}'


def batch_of(count: int, shard: int = 1, first_height: int = FIRST_HEIGHT) -> EventBatch:
    contents = [[merge(cast_add(7, f"{n}.{m}")) for m in range(n % 4)] for n in range(count)]
    return event_batch(blocks_of(*contents, shard=shard, first_height=first_height), shard=shard)


@pytest.fixture(params=["local", "memory", "s3"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> EventLog:
    if request.param == "s3":
        return EventLog.open(request.getfixturevalue("s3").uri("lake"))
    return EventLog.open(str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}-{id(request)}")


def written(log: EventLog, batch: EventBatch, *ranges: tuple[int, int]) -> list[LogFile]:
    """Write parts of the batch, given by heights counted from its first one, a file each."""
    return [
        log.write(batch.within(batch.from_height + first, batch.from_height + last), HOUR) for first, last in ranges
    ]


def content(log: EventLog, shard: int = 1) -> list[tuple[int, bytes]]:
    batches = log.read(log.files(HOUR, shard))
    return [pair for batch in batches for pair in zip(batch.event_ids, batch.raws, strict=True)]


def pairs(batch: EventBatch) -> list[tuple[int, bytes]]:
    return list(zip(batch.event_ids, batch.raws, strict=True))


def test_a_batch_comes_back_as_it_was(log: EventLog) -> None:
    batch = batch_of(9)
    file = log.write(batch, HOUR)
    assert log.files(HOUR) == [file]
    assert list(log.read([file])) == [batch]


def test_what_could_not_be_decoded_comes_back_at_its_place(log: EventLog) -> None:
    """Bad records among good ones: with an id, without one, and one that the hub could not send at all."""
    first = FIRST_HEIGHT << 14
    bad = b'{"type":7,"id":%d}' % (first | 3)
    batch = event_batch(blocks_of([merge(cast_add(1)), NAMELESS, bad, merge(cast_add(2))], [], [NAMELESS]))
    unsendable = [
        Undecodable(i, "the hub could not send this event", b"", i) for i in (first | 7, (first >> 14) + 1 << 14)
    ]
    batch.undecodable = sorted([*batch.undecodable, *unsendable], key=lambda record: record.near_id)
    log.write(batch, HOUR)
    (found,) = log.read(log.files(HOUR))
    assert found == batch
    assert log.compact(HOUR, 1) == 0


def test_a_block_that_the_hub_could_not_send_at_all_is_remembered(log: EventLog) -> None:
    event_id = 77 << 14
    lost = Undecodable(event_id, "the hub could not send this event", b"", event_id)
    batch = EventBatch(1, 77, 77, undecodable=[lost], block_times={77: HOUR_UNIX})
    log.write(batch, HOUR)
    (found,) = log.read(log.files(HOUR))
    assert (found.undecodable, found.raws, found.from_height, found.to_height) == ([lost], [], 77, 77)


def test_heights_without_events_are_proved_by_the_file_name_alone(log: EventLog) -> None:
    log.write(EventBatch(1, 5, 9, block_times={9: HOUR_UNIX}), HOUR)
    (found,) = log.read(log.files(HOUR))
    assert (found.from_height, found.to_height, found.raws) == (5, 9, [])


def test_times_are_kept_where_no_block_confirmed_says_them(log: EventLog) -> None:
    whole = batch_of(3)
    raws = [raw for raw, event_id in zip(whole.raws, whole.event_ids, strict=True) if event_id & 16383]
    ids = [event_id for event_id in whole.event_ids if event_id & 16383]
    events = [event for event in whole.events if event.id & 16383]
    times = {FIRST_HEIGHT + 1: HOUR_UNIX + 77, FIRST_HEIGHT + 2: HOUR_UNIX + 78}
    batch = EventBatch(1, FIRST_HEIGHT, FIRST_HEIGHT + 2, raws, ids, events, [], times)
    log.write(batch, HOUR)
    assert list(log.read(log.files(HOUR))) == [batch]


def test_files_are_listed_by_shard_and_height_and_hours_in_order(log: EventLog) -> None:
    one, two = batch_of(6), batch_of(4, shard=2, first_height=90)
    later = written(log, one, (3, 5))
    second = log.write(two, HOUR)
    earlier = written(log, one, (0, 2))
    log.write(two, HOUR.next)
    log.write(two, Hour(HOUR_UNIX - 86_400))
    assert log.files(HOUR) == [*earlier, *later, second]
    assert log.files(HOUR, 2) == [second]
    assert log.files(HOUR.next.next) == []
    assert log.hours() == [Hour(HOUR_UNIX - 86_400), HOUR, HOUR.next]


def test_an_empty_lake_has_no_hours(log: EventLog) -> None:
    assert log.hours() == []
    assert log.files(HOUR) == []


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 11), (0, 11)],
        [(0, 5), (3, 11)],
        [(0, 8), (2, 4), (5, 11)],
        [(0, 3), (0, 11), (4, 6), (10, 11)],
    ],
)
def test_heights_in_several_files_are_read_once(log: EventLog, ranges: list[tuple[int, int]]) -> None:
    batch = batch_of(12)
    written(log, batch, *ranges)
    assert content(log) == pairs(batch)


def test_compaction_keeps_the_content(log: EventLog) -> None:
    batch, other = batch_of(30), batch_of(7, shard=2)
    written(log, batch, (0, 3), (4, 4), (2, 9), (10, 14), (16, 20), (21, 29))
    log.write(other, HOUR)
    before = content(log)
    assert log.compact(HOUR, 1) == 4
    ranges = [(file.from_height - FIRST_HEIGHT, file.to_height - FIRST_HEIGHT) for file in log.files(HOUR, 1)]
    assert ranges == [(0, 14), (16, 29)]  # height 15 is in no file: the hole stays one
    assert content(log) == before
    assert content(log, 2) == pairs(other)
    assert log.compact(HOUR, 1) == 0


def test_compaction_of_random_cuts_keeps_the_content(tmp_path: Path) -> None:
    seeded = random.Random(5)
    for attempt in range(12):
        log = EventLog.open(str(tmp_path / str(attempt)))
        batch = batch_of(20)
        cuts = [sorted(seeded.choices(range(20), k=2)) for _ in range(seeded.randint(1, 9))]
        written(log, batch, *((first, last) for first, last in cuts))
        before = content(log)
        heights = {height for first, last in cuts for height in range(first, last + 1)}
        assert {event_id >> 14 for event_id, _ in before} == {FIRST_HEIGHT + height for height in heights}
        log.compact(HOUR, 1)
        assert content(log) == before
        assert log.compact(HOUR, 1) == 0


class NoDeletion(LakeStorage):
    """A lake whose process dies before anything is deleted."""

    def delete(self, paths: Sequence[str]) -> None:
        raise KeyboardInterrupt(paths)


def test_a_crash_between_joining_files_and_deleting_them_does_no_harm(tmp_path: Path) -> None:
    storage = LakeStorage.open(str(tmp_path))
    log, batch = EventLog(storage), batch_of(12)
    written(log, batch, (0, 4), (5, 8), (9, 11))
    with pytest.raises(KeyboardInterrupt):
        EventLog(NoDeletion(storage.filesystem, storage.root)).compact(HOUR, 1)
    assert len(log.files(HOUR)) == 4
    assert content(log) == pairs(batch)
    assert log.compact(HOUR, 1) == 3
    assert content(log) == pairs(batch)
    assert len(log.files(HOUR)) == 1


def test_files_that_are_joined_while_somebody_reads_are_read_from_the_joined_one(log: EventLog) -> None:
    batch = batch_of(12)
    written(log, batch, (0, 4), (5, 8), (9, 11))
    reading = log.read(log.files(HOUR, 1))
    found = [next(reading)]
    log.compact(HOUR, 1)
    found += reading
    assert [pair for part in found for pair in pairs(part)] == pairs(batch)


def test_a_file_that_has_gone_is_an_error_that_names_it(log: EventLog) -> None:
    file = log.write(batch_of(3), HOUR)
    log._storage.delete([file.path])
    with pytest.raises(LakeError, match=r"hub_events/hour=.*parquet of the raw log is gone.*restore the lake"):
        list(log.read([file]))


def damaged(how: str, whole: bytes) -> bytes:
    middle = len(whole) // 3
    return {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "garbage": b"garbage" * 100,
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0x55]) + whole[middle + 1 :],
        "no footer": whole[:-8],
    }[how]


@pytest.mark.parametrize("how", ["empty", "truncated", "garbage", "flipped", "no footer"])
def test_a_damaged_file_is_an_error_that_names_it_and_the_remedy(tmp_path: Path, how: str) -> None:
    log = EventLog.open(str(tmp_path))
    written(log, batch_of(40), (0, 29), (30, 39))
    file = log.files(HOUR)[0]
    path = tmp_path / file.path
    path.write_bytes(damaged(how, path.read_bytes()))
    with pytest.raises(LakeError) as caught:
        list(log.read(log.files(HOUR)))
    assert file.path in str(caught.value)
    assert f"materialise hub_events for {HOUR.key}" in str(caught.value)
    with pytest.raises(LakeError, match="cannot read"):
        log.compact(HOUR, 1)
    assert len(log.files(HOUR)) == 2


def test_anybody_can_read_the_log_with_any_parquet_reader(tmp_path: Path) -> None:
    batch = batch_of(5)
    file = EventLog.open(str(tmp_path)).write(batch, HOUR)
    table = pq.read_table(tmp_path / "hub_events", schema=None)
    assert table["event"].to_pylist() == batch.raws
    assert table["event_id"].to_pylist() == batch.event_ids
    assert {time.timestamp() for time in table["block_time"].to_pylist()} == set(batch.block_times.values())
    assert file.size_bytes == (tmp_path / file.path).stat().st_size


def test_only_what_may_name_some_fids_is_decoded(log: EventLog) -> None:
    said = [
        cast_add(12, "by 12"),
        cast_add(5, "mention", mentions=[3, 12], mentionsPositions=[0, 0]),
        cast_add(5, "reply", parentCastId={"fid": 12, "hash": "0x" + "12" * 20}),
        cast_add(5, "neither 12 nor [12], in a text"),
        cast_add(120, "by another"),
        cast_add(5, "another's", mentions=[112], mentionsPositions=[0]),
    ]
    batch = event_batch(blocks_of(*([merge(one)] for one in said)))
    log.write(batch, HOUR)
    (found,) = log.read(log.files(HOUR), naming=[12, 7])
    texts = {
        event.mergeMessageBody.message.data.castAddBody.text
        for event in found.events
        if event.mergeMessageBody and event.mergeMessageBody.message.data.castAddBody
    }
    assert {"by 12", "mention", "reply"} <= texts
    assert not texts & {"by another", "another's"}
    assert (found.from_height, found.to_height) == (batch.from_height, batch.to_height)
    assert all(height in found.block_times for height in (event.height for event in found.events))


def test_a_store_that_does_not_answer_is_no_damage() -> None:
    """Nothing listens there; a file that is called damaged would be read from the hub again, and replaced."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    log = EventLog.open(f"s3://KEY:SECRET@lake/log?scheme=http&endpoint_override=127.0.0.1:{port}&region=eu-central-1")
    file = LogFile(1, FIRST_HEIGHT, FIRST_HEIGHT, HOUR, "hub_events/file.parquet", 7, 7, None)
    with pytest.raises(LakeUnreachable, match="is the store up, and its endpoint in FC_LAKE_URI right"):
        log.damage(file)
