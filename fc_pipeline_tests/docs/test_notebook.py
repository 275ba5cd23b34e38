"""docs/going_on.ipynb runs from its first cell to its last, and shows what it says.

Its code cells are executed here one after the other in one namespace, without Jupyter, which would be a larger
dependency than all others of the tests together.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.docs.pages import ROOT
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

NOTEBOOK = ROOT / "docs" / "going_on.ipynb"
LAST_BEFORE_CHANGES = "whole"
PROFILES = "SELECT fid, username, display_name, bio FROM user_profiles WHERE deleted_at IS NULL"


def cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def filled(postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    lines = list(generate(5, fids=40, events=2_000, events_per_second=40.0, start_unix=HOUR_UNIX))
    with (
        fresh_database(postgres) as database,
        serving(log_from_lines(lines)) as url,
        workbench(database, tmp_path / "lake", url) as bench,
    ):
        bench.run()
        monkeypatch.setenv("FC_POSTGRES_URL", database.url)
        yield bench


def test_it_is_kept_without_outputs() -> None:
    assert [cell["id"] for cell in cells() if cell["outputs"] or cell["execution_count"] is not None] == []


def test_it_runs_and_its_copy_follows_the_table(filled: Workbench, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}

    def run(*ids: str) -> None:
        for cell in cells():
            if cell["id"] in ids:
                exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}: {cell['id']}", "exec"), names)  # noqa: S102

    ids = [cell["id"] for cell in cells()]
    place = ids.index(LAST_BEFORE_CHANGES) + 1
    run(*ids[:place])
    for name in ("feed", "page_2", "trending", "thread", "profiles"):
        assert len(names[name]) > 0, name
    assert set(names["feed"].hash).isdisjoint(names["page_2"].hash)
    assert len(names["thread"]) > 1
    assert len(capsys.readouterr().out.splitlines()) >= len(names["thread"])

    with filled.replica.engine.begin() as connection:
        least, second, third = connection.scalars(sa.text(f"SELECT fid FROM ({PROFILES}) AS p ORDER BY fid LIMIT 3"))
        connection.execute(sa.text("UPDATE user_profiles SET bio = 'changed' WHERE fid = :fid"), {"fid": least})
        connection.execute(sa.text("UPDATE user_profiles SET deleted_at = now() WHERE fid = :fid"), {"fid": second})
        connection.execute(sa.text("DELETE FROM user_profiles WHERE fid = :fid"), {"fid": third})
    run(*ids[place:])
    with filled.replica.engine.connect() as connection:
        now = pd.read_sql(sa.text(PROFILES), connection).set_index("fid")
    copy = names["profiles"]
    assert copy.bio[least] == "changed"
    assert {second, third}.isdisjoint(copy.index)
    pd.testing.assert_frame_equal(copy.sort_index().fillna(""), now.sort_index().fillna(""))
