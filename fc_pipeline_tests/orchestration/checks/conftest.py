from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.events import HOUR, HOUR_UNIX
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import fresh_database

HEIGHTS = 30


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """One hour of casts, materialised; each test damages what it looks at and mends it again."""
    data_dir: Path = tmp_path_factory.mktemp("pipeline")
    log = log_of(casts_at(every_second(1000, HOUR_UNIX, HEIGHTS)))
    with (
        serving(log) as url,
        fresh_database(postgres) as database,
        open_pipeline(database, data_dir, url) as opened,
    ):
        assert opened.materialize(hour=Hour.from_key(HOUR)).success
        yield opened
