import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from fc_pipeline.errors import LakeError
from fc_pipeline.lake.storage import UNFINISHED_SECONDS, LakeStorage

CONTENT = pa.py_buffer(b"content of a file")


def read(storage: LakeStorage, path: str) -> bytes:
    with storage.filesystem.open_input_file(storage.full_path(path)) as stream:
        return stream.read()


PLACES = ("path", "file", "memory", "s3")


@pytest.fixture(params=PLACES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> LakeStorage:
    """The same lake in a local folder, behind a file URI, in an object store that only fsspec knows, and in S3."""
    uris = {
        "path": lambda: str(tmp_path / "new, ü" / "lake"),
        "file": lambda: (tmp_path / "lake").as_uri(),
        "memory": lambda: f"memory://{tmp_path.name}-{id(request)}/lake/",
        "s3": lambda: request.getfixturevalue("s3").uri("my läke, of S3/x"),
    }
    return LakeStorage.open(uris[request.param]())


def test_what_is_written_is_listed_with_its_size_and_read_back(storage: LakeStorage) -> None:
    storage.write("events/hour=1/b.parquet", CONTENT)
    storage.write("events/hour=1/a.parquet", pa.py_buffer(b""))
    storage.write("events/hour=2/c.parquet", CONTENT)
    assert storage.folders("events") == ["hour=1", "hour=2"]
    assert storage.names("events/hour=1") == [("a.parquet", 0), ("b.parquet", CONTENT.size)]
    assert read(storage, "events/hour=1/b.parquet") == CONTENT.to_pybytes()


def test_writing_a_file_again_replaces_it(storage: LakeStorage) -> None:
    storage.write("x/a", pa.py_buffer(b"longer than what follows"))
    storage.write("x/a", pa.py_buffer(b"short"))
    assert read(storage, "x/a") == b"short"
    assert storage.names("x") == [("a", 5)]


def test_a_folder_that_is_not_there_is_empty(storage: LakeStorage) -> None:
    assert storage.names("nowhere/at/all") == []
    assert storage.folders("nowhere") == []


def test_a_deleted_file_is_gone(storage: LakeStorage) -> None:
    storage.write("x/a", CONTENT)
    storage.write("x/b", CONTENT)
    storage.write("x/c", CONTENT)
    storage.delete(["x/a", "x/b", "x/gone already"])
    storage.delete([])
    assert storage.names("x") == [("c", CONTENT.size)]


def test_a_file_that_is_gone_is_told_as_such(storage: LakeStorage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("x/never there")


def test_opening_the_same_lake_again_finds_what_is_there(tmp_path: Path) -> None:
    LakeStorage.open(str(tmp_path)).write("x/a", CONTENT)
    assert LakeStorage.open(tmp_path.as_uri()).names("x") == [("a", CONTENT.size)]


@pytest.mark.parametrize("spelling", ["{}/", "{}//", "file://{}", "file://{}/", "{}/../lake of ü", "file:///{}"])
def test_the_same_place_spelled_otherwise_is_the_same_lake(tmp_path: Path, spelling: str) -> None:
    folder = tmp_path / "lake of ü"
    LakeStorage.open(str(folder)).write("x/a", CONTENT)
    assert LakeStorage.open(spelling.format(folder)).names("x") == [("a", CONTENT.size)]


def test_what_a_killed_writer_left_half_written_is_deleted_after_a_day(tmp_path: Path) -> None:
    storage = LakeStorage.open(str(tmp_path))
    storage.write("x/a", CONTENT)
    for name, age_seconds in ((".old.7.unfinished", UNFINISHED_SECONDS + 60), (".new.7.unfinished", 60)):
        (tmp_path / "x" / name).write_bytes(b"half")
        os.utime(tmp_path / "x" / name, times=(time.time() - age_seconds,) * 2)
    storage.delete_unfinished("x")
    assert sorted(os.listdir(tmp_path / "x")) == [".new.7.unfinished", "a"]


def test_unfinished_files_are_no_files(tmp_path: Path) -> None:
    storage = LakeStorage.open(str(tmp_path))
    storage.write("x/a", CONTENT)
    (tmp_path / "x" / ".b.7.unfinished").write_bytes(b"half")
    assert storage.names("x") == [("a", CONTENT.size)]


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    """Two writers replace one file, as two runs that fold the same heights do, while a reader looks."""
    storage = LakeStorage.open(str(tmp_path))
    size = 400_000
    storage.write("x/a", pa.py_buffer(b"0" * size))
    failed: list[BaseException] = []

    def write(mark: bytes) -> None:
        try:
            for _ in range(15):
                storage.write("x/a", pa.py_buffer(mark * size))
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(mark,)) for mark in (b"1", b"2")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = read(storage, "x/a")
        assert len(content) == size
        assert len(set(content)) == 1
    assert failed == []
    assert os.listdir(tmp_path / "x") == ["a"]


def test_a_file_that_cannot_be_written_is_an_error_with_a_remedy_and_leaves_nothing_behind(tmp_path: Path) -> None:
    storage = LakeStorage.open(str(tmp_path))
    (tmp_path / "x" / "a").mkdir(parents=True)  # a folder stands where the file should be
    with pytest.raises(LakeError, match=r"cannot write x/a to the lake.*FC_LAKE_URI"):
        storage.write("x/a", CONTENT)
    assert os.listdir(tmp_path / "x") == ["a"]


@pytest.mark.parametrize("uri", ["nonsense://bucket/lake", "memory+nonsense://x"])
def test_a_uri_that_nothing_can_open_is_an_error_that_names_it(uri: str) -> None:
    with pytest.raises(LakeError, match=r"cannot open the lake at .*FC_LAKE_URI"):
        LakeStorage.open(uri)


def test_a_path_that_is_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    with pytest.raises(LakeError, match=r"cannot open the lake at .*lake.*FC_LAKE_URI"):
        LakeStorage.open(str(tmp_path / "lake"))
