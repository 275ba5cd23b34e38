import re
from pathlib import Path

from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.index_bytes import INDEX_BYTES
from fc_pipeline.tables.reference import tables_markdown
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.postgres import Database

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def test_the_committed_reference_is_what_the_declarations_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == tables_markdown(), "run: make docs"


def test_the_queries_of_the_reference_are_answered(database: Database) -> None:
    (block,) = re.findall(r"```sql\n(.+?)```", tables_markdown().split("## ")[0], re.DOTALL)
    queries = [query for query in block.split(";\n") if query.strip()]
    assert len(queries) >= 6
    with database.engine.connect() as connection:
        for query in queries:
            connection.exec_driver_sql(query).all()


def test_every_index_says_what_it_serves() -> None:
    assert [(t.name, index.columns) for t in ALL_TABLES.values() for index in t.indexes if not index.serves] == []


def test_what_was_measured_is_an_index_that_there_is() -> None:
    declared = {table.index_name(index) for table in ALL_TABLES.values() for index in table.indexes}
    keys = {f"{name}_pkey" for name in (*ALL_TABLES, *(table.name for table in COUNT_TABLES))}
    assert INDEX_BYTES.keys() <= declared | keys
    of_casts = {name for name in declared if name.startswith(("casts_", "reactions_", "links_", "cast_threads_"))}
    assert of_casts <= INDEX_BYTES.keys()
