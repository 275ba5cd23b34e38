"""The queries of the README and of the tables' page find something in the sample, so that a stranger can tell."""

import re
from collections.abc import Iterator

import pytest

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.docs.pages import Block, blocks_in
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

IN_PLACE_OF_NOW = (SAMPLE_HOURS[-1].next.start, SAMPLE_HOURS[0].start.replace(year=2027))
"""After the sample's last hour, and a year after its first, when what it rents runs out."""
QUERIES = [
    (block, statement)
    for block in blocks_in("sql")
    for statement in filter(str.strip, block.text.split(";\n"))
    if block.page in ("README.md", "docs/tables.md") and not re.search("CREATE|GRANT", block.text)
]


@pytest.fixture(scope="module")
def sample(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    lake = tmp_path_factory.mktemp("queries") / "lake"
    with sample_hub() as url, fresh_database(postgres) as database, workbench(database, lake, url) as bench:
        bench.run()
        yield bench


@pytest.mark.parametrize(
    ("block", "statement"), QUERIES, ids=lambda value: "" if isinstance(value, str) else value.page
)
def test_a_query_of_the_pages_finds_rows_in_the_sample(sample: Workbench, block: Block, statement: str) -> None:
    found: list[object] = []
    with sample.replica.engine.connect() as connection:
        for moment in IN_PLACE_OF_NOW:
            at_that_time = statement.replace("now()", f"'{moment.isoformat()}'::timestamptz")
            found += connection.exec_driver_sql(at_that_time.replace("%", "%%")).fetchall()
    assert found, block.page
