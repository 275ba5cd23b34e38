"""Commands that are printed work where they are printed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fc_pipeline.causes import cause_of
from fc_pipeline.config.project import project_root
from fc_pipeline.errors import ServiceError
from fc_pipeline.printed_commands import runnable

BIN = Path(sys.executable).parent


@pytest.fixture
def not_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)


def test_what_is_on_the_path_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.defpath}")
    text = "run `fc-pipeline sync`, or: dagster asset materialize --select casts"
    assert runnable(text) == text


@pytest.mark.usefixtures("not_on_path")
def test_a_checkout_whose_environment_is_not_active(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(BIN.parent.parent)
    ours, dagsters = (str((BIN / name).relative_to(Path.cwd())) for name in ("fc-pipeline", "dagster"))
    assert runnable("`fc-pipeline up` or `fc-pipeline targets list`") == f"`{ours} up` or `{ours} targets list`"
    assert runnable("dagster asset materialize") == f"{dagsters} asset materialize"
    assert runnable(runnable("fc-pipeline sync")) == f"{ours} sync"  # once is enough
    for said in ("fc-pipeline is already running", "Dagster's daemon", "see fc_pipeline", "my-fc-pipeline up"):
        assert runnable(said) == said
    monkeypatch.chdir(BIN)
    assert runnable("fc-pipeline sync") == "./fc-pipeline sync"
    monkeypatch.chdir(tmp_path)
    assert runnable("fc-pipeline sync") == f"{BIN / 'fc-pipeline'} sync"
    printed = runnable("fc-pipeline --version")
    assert subprocess.run(printed, shell=True, cwd=tmp_path, capture_output=True).returncode == 0  # noqa: S602


@pytest.mark.usefixtures("not_on_path")
def test_remedies_of_errors_are_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    told = cause_of(ServiceError("it does not run", hint="start it with `fc-pipeline up`"))
    assert told.hint == f"start it with `{BIN / 'fc-pipeline'} up`"


@pytest.mark.usefixtures("not_on_path")
def test_without_scripts_it_is_the_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.chdir(project_root())
    assert runnable("fc-pipeline sync") == f"{tmp_path / 'python3'} -m fc_pipeline.cli sync"
