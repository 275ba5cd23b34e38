from collections.abc import Iterator

import pytest

from fc_pipeline_tests.support.s3_server import S3Server, s3_server


@pytest.fixture
def s3() -> Iterator[S3Server]:
    """A local S3 server with an empty bucket."""
    with s3_server() as server:
        yield server
