import re
from pathlib import Path

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
