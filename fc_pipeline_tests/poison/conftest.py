from collections.abc import Iterator

import pytest

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.conftest import Database, fresh_database


@pytest.fixture
def other_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A second empty database, to compare with."""
    with fresh_database(postgres) as database:
        yield database
