"""A lake in S3: in how many requests it is written, read and tidied up, and what it says where it cannot be."""

import os
from collections import Counter

import pyarrow as pa
import pytest

from fc_pipeline.errors import LakeError
from fc_pipeline.lake import s3 as s3_module
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline_tests.support.s3_server import S3Server

CONTENT = pa.py_buffer(b"content of a file")


def test_each_thing_is_one_request(s3: S3Server) -> None:
    storage = LakeStorage.open(s3.uri("lake"))
    assert s3.count() == Counter()
    storage.write("x/a", CONTENT)
    assert s3.count() == Counter({"PUT object": 1})
    assert storage.read("x/a") == CONTENT
    assert s3.count() == Counter({"GET object": 1})
    assert storage.names("x") == [("a", CONTENT.size)]
    assert s3.count() == Counter({"GET list": 1})
    storage.delete([f"x/{name}" for name in "abcdefgh"])
    assert s3.count() == Counter({"POST delete": 1})
    assert s3.stored() == []


def test_what_is_more_than_one_delete_takes_is_deleted_in_several(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "KEYS_PER_DELETE", 3)
    storage = LakeStorage.open(s3.uri("lake"))
    for number in range(8):
        storage.write(f"x/{number}", CONTENT)
    s3.count()
    storage.delete([f"x/{number}" for number in range(7)])
    assert s3.count() == Counter({"POST delete": 3})
    assert storage.names("x") == [("7", CONTENT.size)]


def test_a_file_too_large_for_one_request_is_whole_or_not_there(s3: S3Server) -> None:
    """Written bit by bit: the writer dies half way, or ends."""
    storage = LakeStorage.open(s3.uri("lake"))
    megabyte = os.urandom(1 << 20)

    def dies() -> None:
        with storage.writing("x/large") as stream:
            for _ in range(12):
                stream.write(megabyte)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dies()
    with storage.writing("x/larger") as stream:
        for _ in range(12):
            stream.write(megabyte)
    assert storage.names("x") == [("larger", 12 << 20)]
    assert storage.read("x/larger").to_pybytes() == megabyte * 12


@pytest.mark.parametrize("path", ["a lake/of mine", "läke/ü", "plus+and,comma", "a//b/", "/c/"])
def test_a_prefix_may_have_spaces_umlauts_and_slashes(s3: S3Server, path: str) -> None:
    storage = LakeStorage.open(s3.uri(path))
    storage.write("x y/ü.parquet", CONTENT)
    assert s3.stored() == [f"{path.strip('/').replace('//', '/')}/x y/ü.parquet"]
    assert storage.names("x y") == [("ü.parquet", CONTENT.size)]
    assert storage.folders("") == ["x y"]
    assert storage.read("x y/ü.parquet") == CONTENT
    storage.delete(["x y/ü.parquet"])
    assert s3.stored() == []


def test_a_store_without_batch_deletes_deletes_one_by_one(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    storage = LakeStorage.open(s3.uri("lake"))
    for name in "abc":
        storage.write(f"x/{name}", CONTENT)
    assert storage.s3 is not None
    client = storage.s3._opened()  # pyright: ignore[reportPrivateUsage]

    def unknown(**_: object) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented", "Message": "no such request"}}, "DeleteObjects")

    monkeypatch.setattr(client, "delete_objects", unknown)
    storage.delete(["x/a", "x/b"])
    assert storage.names("x") == [("c", CONTENT.size)]


def test_without_boto3_the_remedy_is_named(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "find_spec", lambda name: None)
    with pytest.raises(LakeError, match=r"needs boto3.*pip install 'fc-pipeline\[s3\]'"):
        LakeStorage.open(s3.uri("lake"))


def test_a_bucket_that_is_not_there_is_an_error_of_ours_without_the_keys(s3: S3Server) -> None:
    storage = LakeStorage.open(s3.uri("lake").replace("bucket/lake", "nobucket/lake"))
    with pytest.raises(LakeError, match=r"cannot write x/a to the lake") as caught:
        storage.write("x/a", CONTENT)
    assert "a-secret-key" not in str(caught.value)
    with pytest.raises(OSError, match="NoSuchBucket") as failed:
        storage.read("x/a")
    assert not isinstance(failed.value, FileNotFoundError)


@pytest.mark.slow
def test_a_store_that_is_down_is_an_error_of_ours() -> None:
    storage = LakeStorage.open("s3://a-key:a-secret-key@bucket/lake?endpoint_override=127.0.0.1:9&scheme=http&region=x")
    with pytest.raises(LakeError, match=r"cannot list bucket/lake/x: .*FC_LAKE_URI") as caught:
        storage.names("x")
    assert "a-secret-key" not in str(caught.value)
