import os
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from fc_pipeline.errors import LakeError
from fc_pipeline.lake.storage import LakeStorage

CONTENT = pa.py_buffer(b"content of a file")


def read(storage: LakeStorage, path: str) -> bytes:
    with storage.filesystem.open_input_file(storage.full_path(path)) as stream:
        return stream.read()


@pytest.fixture(params=["path", "file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> LakeStorage:
    """The same lake in a local folder, behind a file URI, and in an object store that only fsspec knows."""
    uris = {
        "path": str(tmp_path / "new" / "lake"),
        "file": (tmp_path / "lake").as_uri(),
        "memory": f"memory://{tmp_path.name}-{id(request)}/lake/",
    }
    return LakeStorage.open(uris[request.param])


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
    storage.delete("x/a")
    assert storage.names("x") == []


def test_opening_the_same_lake_again_finds_what_is_there(tmp_path: Path) -> None:
    LakeStorage.open(str(tmp_path)).write("x/a", CONTENT)
    assert LakeStorage.open(tmp_path.as_uri()).names("x") == [("a", CONTENT.size)]


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
