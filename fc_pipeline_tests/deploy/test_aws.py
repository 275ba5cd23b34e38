"""The rights in S3 are enough for all that the lake asks, and for nothing else; what expires is not the lake."""

import fnmatch
import json
import os
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pyarrow as pa
import pytest

from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline_tests.support.deployed import DEPLOY, read_yaml
from fc_pipeline_tests.support.s3_server import BUCKET, Asked, S3Server, s3_server

POLICY: list[dict[str, Any]] = json.loads((DEPLOY / "aws" / "iam-policy.json").read_text(encoding="utf-8"))["Statement"]
LIFECYCLE: dict[str, Any] = json.loads((DEPLOY / "aws" / "lifecycle.json").read_text(encoding="utf-8"))


class Action(NamedTuple):
    """What S3 makes of a request: the right it takes, to what, and the prefix that it names."""

    name: str
    resource: str
    prefix: str | None = None


def action_of(asked: Asked) -> Action:
    """As in S3's table of actions (Service Authorization Reference)."""
    bucket, _, key = asked.path.strip("/").partition("/")
    query = parse_qs(asked.query, keep_blank_values=True)
    if not key:
        whole = f"arn:aws:s3:::{bucket}"
        if "delete" in query:  # looked at once more for each key in it
            return Action("s3:DeleteObject", f"{whole}/lake/any")
        assert asked.method in {"GET", "HEAD"}, asked
        return Action("s3:ListBucket", whole, query.get("prefix", [None])[0])
    of_method = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject"}
    deleted = "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
    return Action(of_method.get(asked.method, deleted), f"arn:aws:s3:::{bucket}/{key}")


def is_allowed(action: Action) -> bool:
    for statement in POLICY:
        assert statement["Effect"] == "Allow"
        names = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        resource = statement["Resource"].replace("BUCKET", BUCKET)
        if action.name in names and fnmatch.fnmatchcase(action.resource, resource) and _fits(statement, action.prefix):
            return True
    return False


def _fits(statement: dict[str, Any], prefix: str | None) -> bool:
    """The one operator of ours: StringLikeIfExists, which says nothing of a request that names no prefix."""
    conditions = statement.get("Condition", {})
    assert conditions.keys() <= {"StringLikeIfExists"}
    if not conditions or prefix is None:
        return True
    return any(fnmatch.fnmatchcase(prefix, pattern) for pattern in conditions["StringLikeIfExists"]["s3:prefix"])


@pytest.fixture(scope="module")
def asked() -> list[Asked]:
    """Every request of a lake that is opened, written in one piece and in parts, read, listed and tidied up."""
    with s3_server() as s3:
        use(s3)
        return list(s3.asked)


def use(s3: S3Server) -> None:
    storage, content = LakeStorage.open(s3.uri("lake")), pa.py_buffer(b"content")
    assert storage.write_new("fc_pipeline_lake.json", content)
    storage.write("hub_events/hour=x/a", content)
    with storage.writing("hub_events/hour=x/large") as stream:
        for _ in range(12):
            stream.write(os.urandom(1 << 20))
    assert storage.read("hub_events/hour=x/a") == content
    with pytest.raises(FileNotFoundError):
        storage.read("hub_events/hour=x/none")
    assert storage.folders("hub_events") == ["hour=x"]
    assert len(storage.walk("hub_events")) == 2
    storage.delete(["hub_events/hour=x/a", "hub_events/hour=x/large"])


def test_it_may_do_all_that_it_asks_for(asked: list[Asked]) -> None:
    actions = {action_of(one) for one in asked}
    assert {action.name for action in actions} == {
        *("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"),
    }
    assert not [action for action in actions if not is_allowed(action)]


def test_it_may_do_nothing_beside_the_lake_and_the_output_of_runs() -> None:
    bucket = f"arn:aws:s3:::{BUCKET}"
    for name in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert is_allowed(Action(name, f"{bucket}/lake/hub_events/x"))
        assert is_allowed(Action(name, f"{bucket}/compute-logs/x"))
        assert not is_allowed(Action(name, f"{bucket}/others/x"))
        assert not is_allowed(Action(name, f"{bucket}/lake-of-others/x"))
        assert not is_allowed(Action(name, f"arn:aws:s3:::{BUCKET}2/lake/x"))
    assert not is_allowed(Action("s3:ListBucket", bucket, "others/"))
    for name in ("s3:DeleteBucket", "s3:PutBucketPolicy", "s3:PutLifecycleConfiguration", "s3:ListAllMyBuckets"):
        assert not is_allowed(Action(name, bucket))


def test_an_object_that_is_not_there_is_told_from_one_that_may_not_be_read() -> None:
    """S3 says NoSuchKey only to whom may list, and asks that without a prefix: else each first look is "forbidden"."""
    assert is_allowed(Action("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", None))


def test_the_prefixes_are_those_of_the_chart() -> None:
    prefix = read_yaml("helm/values.yaml")["computeLogManager"]["config"]["s3ComputeLogManager"]["prefix"]
    assert is_allowed(Action("s3:PutObject", f"arn:aws:s3:::{BUCKET}/{prefix}/run/x.err"))
    assert {rule["Filter"]["Prefix"] for rule in LIFECYCLE["Rules"] if "Expiration" in rule} == {f"{prefix}/"}


def test_s3_takes_the_lifecycle_and_the_lake_never_expires() -> None:
    with s3_server() as s3:
        client = s3.client()
        client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=LIFECYCLE)
        rules = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert [rule["ID"] for rule in rules] == [rule["ID"] for rule in LIFECYCLE["Rules"]]
    (unfinished,) = [rule for rule in rules if "AbortIncompleteMultipartUpload" in rule]
    assert unfinished["Filter"] == {"Prefix": ""}
    of_the_lake = [rule for rule in rules if "lake/x".startswith(rule["Filter"]["Prefix"])]
    for rule in of_the_lake:
        assert not rule.keys() & {"Expiration", "Transitions"}, rule
