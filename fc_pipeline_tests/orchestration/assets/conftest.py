from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An empty pipeline for the whole module, reading the committed sample."""
    data_dir: Path = tmp_path_factory.mktemp("pipeline")
    with sample_hub() as url, fresh_database(postgres) as database, open_pipeline(database, data_dir, url) as opened:
        yield opened
