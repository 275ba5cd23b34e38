"""Snapshots as Parquet: whole FIDs, in row groups, in files that are there or not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fc_pipeline.errors import LakeError
from fc_pipeline.hub.snapshot import SnapshotPage
from fc_pipeline.lake.snapshot_log import SNAPSHOT_SCHEMA, Heads, SnapshotLog, bucket_key, bucket_of

NOW = datetime(2026, 11, 1, 10, 30, 15, 123456, tzinfo=UTC)
HEADS = Heads({1: 100, 2: 200}, {1: 150, 2: 200})
MEBIBYTE = 1024 * 1024


@pytest.fixture
def log(tmp_path: Path) -> SnapshotLog:
    return SnapshotLog.open(str(tmp_path / "lake"))


def write(log: SnapshotLog, bucket: int = 3) -> str:
    with log.writing(bucket, NOW) as file:
        file.add(3, 1, 100, [SnapshotPage("casts", [b'{"a":1}', b'{"a":2}']), SnapshotPage("links", [b"{}"])])
        file.add(259, 2, 200, [])
        file.note_heads(HEADS)
    return file.path


def test_what_was_added_is_read_back_with_its_heads(log: SnapshotLog):
    path = write(log)
    (batch,) = log.read(path, [3, 259])
    assert batch.schema == SNAPSHOT_SCHEMA
    assert batch.to_pylist() == [
        {"fid": 3, "shard": 1, "version": 100, "kind": "casts", "record": b'{"a":1}', "fetched_at": NOW},
        {"fid": 3, "shard": 1, "version": 100, "kind": "casts", "record": b'{"a":2}', "fetched_at": NOW},
        {"fid": 3, "shard": 1, "version": 100, "kind": "links", "record": b"{}", "fetched_at": NOW},
        {"fid": 259, "shard": 2, "version": 200, "kind": "none", "record": b"", "fetched_at": NOW},
    ]
    assert log.heads(path) == HEADS
    assert log.files(3) == {path: NOW.replace(microsecond=0)}
    assert log.files(4) == {}


def test_only_the_fids_that_are_wanted_are_read(log: SnapshotLog):
    path = write(log)
    assert [row["fid"] for batch in log.read(path, [259, 7]) for row in batch.to_pylist()] == [259]
    assert list(log.read(path, [7])) == []


def test_a_big_fid_is_many_row_groups_and_read_one_at_a_time(log: SnapshotLog, tmp_path: Path):
    pages = [[b"%07d" % (n * 100 + k) + b"x" * 10_000 for k in range(100)] for n in range(20)]
    with log.writing(3, NOW) as file:
        for records in pages:
            if file.add(3, 1, 100, [SnapshotPage("casts", records)]):
                file.flush()
        file.note_heads(HEADS)
    stored = pq.ParquetFile(tmp_path / "lake" / "fid_snapshots" / file.path)
    assert stored.metadata.num_row_groups >= 4
    sizes = [batch.nbytes for batch in log.read(file.path, [3])]
    assert len(sizes) == stored.metadata.num_row_groups
    assert max(sizes) < 6 * MEBIBYTE
    read = [record for batch in log.read(file.path, [3]) for record in batch["record"].to_pylist()]
    assert read == [record for records in pages for record in records]


def test_a_file_whose_writing_fails_is_never_there(log: SnapshotLog, tmp_path: Path):
    def fail() -> None:
        with log.writing(3, NOW) as file:
            file.add(3, 1, 100, [])
            file.flush()
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert log.files(3) == {}
    assert [path for path in (tmp_path / "lake").rglob("*") if path.is_file()] == []


def test_a_lost_or_damaged_file_says_what_to_do(log: SnapshotLog, tmp_path: Path):
    path = write(log)
    full = tmp_path / "lake" / "fid_snapshots" / path
    content = bytearray(full.read_bytes())
    content[len(content) // 3] ^= 0xFF
    full.write_bytes(content)
    with pytest.raises(
        LakeError, match=r"(?s)cannot read the snapshots bucket=003/.*materialise fid_snapshots for bucket 003"
    ):
        list(log.read(path, [3]))
    log.delete([path])
    with pytest.raises(LakeError, match="bucket=003"):
        list(log.read(path, [3]))
    with pytest.raises(LakeError, match="bucket=003"):
        log.heads(path)


def test_what_holds_of_two_answers_together():
    other = Heads({1: 90, 2: 210}, {1: 140, 2: 220})
    assert HEADS | other == Heads({1: 90, 2: 200}, {1: 150, 2: 220})


def test_two_files_of_one_moment_have_two_names(log: SnapshotLog):
    assert write(log) != write(log)
    assert len(log.files(3)) == 2
    assert all(begun - NOW < timedelta(seconds=1) for begun in log.files(3).values())


def test_buckets():
    assert (bucket_of(3), bucket_of(256), bucket_of(1689)) == (3, 0, 153)
    assert (bucket_key(3), bucket_key(255)) == ("003", "255")
