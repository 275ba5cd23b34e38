"""`fc-pipeline lake`: another lake is refused by every command, shown, and adopted on purpose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.replica import open_replica
from fc_pipeline_tests.support.postgres import Database


@pytest.fixture
def environment(database: Database, tmp_path: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FC_")}
    return {**ours, "FC_DATA_DIR": str(tmp_path / "data"), "FC_POSTGRES_URL": database.url, "COLUMNS": "200"}


def run(environment: dict[str, str], *arguments: str, lake: Path, answer: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fc_pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "FC_LAKE_URI": str(lake)},
        input=answer,
    )


@pytest.mark.slow
def test_another_lake_is_refused_until_it_is_adopted(environment: dict[str, str], tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "my other, läke"
    with open_replica(Settings.load({**environment, "FC_LAKE_URI": str(first)}, dotenv=None)):
        pass  # as every command that writes: database and lake know each other from now on
    refused = run(environment, "quarantine", "list", lake=other)
    assert refused.returncode == 2
    assert f"FC_LAKE_URI names {other}: there is no lake, but the database's lake" in refused.stderr
    assert "fc-pipeline lake adopt" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 2

    shown = run(environment, "lake", "show", lake=other)
    assert shown.returncode == 0, shown.stderr
    assert str(other) in shown.stdout
    assert f"adopted at {first}" in shown.stdout
    assert "fc-pipeline lake adopt`" in shown.stdout
    assert not other.exists()  # it was but shown
    declined = run(environment, "lake", "adopt", lake=other, answer="n\n")
    assert declined.returncode == 1
    assert not list(other.iterdir())
    adopted = run(environment, "lake", "adopt", "--yes", lake=other)
    assert adopted.returncode == 0, adopted.stderr
    assert "its lake is now" in adopted.stdout
    assert run(environment, "quarantine", "list", lake=other).returncode == 0
    assert run(environment, "quarantine", "list", lake=first).returncode == 2
