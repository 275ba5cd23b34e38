"""What Arrow's S3 file system takes several requests for, in one: reading an object, deleting many objects."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa

from fc_pipeline.errors import LakeError

__all__ = ["KEYS_PER_DELETE", "S3Requests"]

KEYS_PER_DELETE: Final = 1000
"""The most that one DeleteObjects request takes."""
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30


class S3Requests:
    """Requests to the store of an `s3://` URI, as Arrow reads such a URI: keys, region and endpoint may be in it.

    Keys that are not come from where the AWS SDKs look for them. Paths begin with the bucket. Safe for several threads.
    """

    def __init__(self, uri: str) -> None:
        if find_spec("boto3") is None:
            raise LakeError(
                "a lake in S3 needs boto3, which is not installed",
                hint="pip install 'fc-pipeline[s3]', or pip install boto3; or set FC_LAKE_URI to another place",
            )
        self._uri = uri
        self._client: Any = None
        self._opening = Lock()

    def read(self, path: str) -> pa.Buffer:
        """A whole object, without asking for its size before. Raises FileNotFoundError, OSError."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = path.partition("/")
        try:
            return pa.py_buffer(self._opened().get_object(Bucket=bucket, Key=key)["Body"].read())
        except ClientError as error:
            if _code(error) in {"NoSuchKey", "404"}:
                raise FileNotFoundError(f"there is no object {path}") from error
            raise OSError(str(error)) from error
        except BotoCoreError as error:
            raise OSError(str(error)) from error

    def write_new(self, path: str, content: pa.Buffer) -> bool:
        """Write an object if there is none of this name; whether it was written. Raises OSError."""
        from botocore.exceptions import BotoCoreError, ClientError

        bucket, _, key = path.partition("/")
        try:
            self._opened().put_object(Bucket=bucket, Key=key, Body=content.to_pybytes(), IfNoneMatch="*")
        except ClientError as error:
            if _code(error) in {"PreconditionFailed", "ConditionalRequestConflict"}:
                return False
            raise OSError(str(error)) from error
        except BotoCoreError as error:
            raise OSError(str(error)) from error
        return True

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects of one bucket; those that are gone already are none to delete. Raises OSError."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            for batch in _batches(paths):
                self._delete_batch(batch)
        except (ClientError, BotoCoreError) as error:
            raise OSError(str(error)) from error

    def _delete_batch(self, paths: Sequence[str]) -> None:
        from botocore.exceptions import ClientError

        bucket = paths[0].partition("/")[0]
        keys = [path.partition("/")[2] for path in paths]
        client = self._opened()
        try:
            answer = client.delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        except ClientError:  # some stores that speak S3 know no DeleteObjects: what is wrong else, is wrong again
            for key in keys:
                client.delete_object(Bucket=bucket, Key=key)
            return
        refused = answer.get("Errors", [])
        if refused:
            raise OSError(f"cannot delete {refused[0].get('Key')}: {refused[0].get('Message') or refused[0]}")

    def _opened(self) -> Any:
        with self._opening:
            if self._client is None:
                self._client = _client(self._uri)
            return self._client


def _code(error: Any) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(paths), KEYS_PER_DELETE):
        yield paths[at : at + KEYS_PER_DELETE]


def _client(uri: str) -> Any:
    """A client for the store of a URI; importing it takes half a second, which a run that only writes need not wait."""
    import boto3
    from botocore.config import Config

    parts = urlsplit(uri)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    endpoint = options.get("endpoint_override")
    if endpoint and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    virtual = not endpoint or options.get("force_virtual_addressing", "").lower() == "true"
    return boto3.client(
        "s3",
        region_name=options.get("region"),
        endpoint_url=endpoint,
        aws_access_key_id=unquote(parts.username) if parts.username else None,
        aws_secret_access_key=unquote(parts.password) if parts.password else None,
        verify=options.get("tls_ca_file_path"),
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "max_attempts": 4},
            s3={"addressing_style": "virtual" if virtual and endpoint else "auto" if virtual else "path"},
        ),
    )
