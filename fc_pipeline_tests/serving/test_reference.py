from pathlib import Path

from fc_pipeline.serving.objects import served_objects
from fc_pipeline.serving.reference import api_markdown

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def test_the_committed_reference_is_what_the_declarations_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == api_markdown(), "run: make docs"


def test_every_call_is_in_it() -> None:
    text = api_markdown()
    assert [one.name for one in served_objects() if one.schema == "api" and f"`{one.name}(" not in text] == []
