from pathlib import Path

from fc_pipeline.tables.reference import tables_markdown

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def test_the_committed_reference_is_what_the_declarations_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == tables_markdown(), "run: make docs"
