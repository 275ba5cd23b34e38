"""Looking where there is nothing yet makes nothing, and says how to begin; and which project is looked at."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fc_pipeline.config.project import PROJECT_FILES, project_file, project_root

LOOKING = [
    ("status",),
    ("verify",),
    ("prove",),
    ("quarantine", "list"),
    ("targets", "list"),
    ("targets", "why", "3"),
    ("targets", "add", "3", "--what-if"),
    ("lake", "show"),
]


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}
    return subprocess.run(
        [sys.executable, "-m", "fc_pipeline.cli", *arguments],
        cwd=folder,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As `init` leaves it."""
    for name in PROJECT_FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project_file(name), tmp_path / name)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_a_look_makes_nothing(project: Path, command: tuple[str, ...]):
    before = sorted(project.rglob("*"))
    variables = {"FC_TARGETS": "set", "FC_ROOT_FIDS": "3"} if command[0] == "targets" else {}
    done = run(project, *command, **variables)
    assert done.returncode == 1
    assert f"nothing here yet: {project / 'data'} has no replica" in done.stderr
    assert "fc-pipeline up" in done.stderr
    assert "FC_POSTGRES_URL" not in done.stderr
    assert "project:" not in done.stderr
    assert sorted(project.rglob("*")) == before


@pytest.mark.slow
def test_outside_of_a_project_it_is_said_which_one_is_meant(tmp_path: Path):
    data_dir = str(tmp_path / "none")
    told = run(tmp_path, "status", FC_DATA_DIR=data_dir)
    assert f"project: {project_root()} (this folder is none, and DAGSTER_HOME names none)" in told.stderr
    assert "project:" not in run(project_root() / "docs", "status", FC_DATA_DIR=data_dir).stderr
    assert "project:" not in run(tmp_path, "status", FC_DATA_DIR=data_dir, DAGSTER_HOME=str(project_root())).stderr
    assert "project:" not in run(tmp_path, "status", "--help").stderr
    assert not list(tmp_path.iterdir())
