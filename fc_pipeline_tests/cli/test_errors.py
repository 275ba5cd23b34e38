"""What the command line says when something is wrong: one readable line, a hint, an exit code, no traceback."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fc_pipeline.cli", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_wrong_setting_ends_with_2_and_names_the_variable(tmp_path: Path):
    done = run("up", FC_DATA_DIR=str(tmp_path), FC_TARGETS="some")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: FC_TARGETS is 'some'", "hint: expected: 'all' or 'set'"]
    assert done.stdout == ""


def test_debug_shows_the_traceback(tmp_path: Path):
    done = run("--debug", "up", FC_DATA_DIR=str(tmp_path), FC_TARGETS="some")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigError" in done.stderr


def test_a_wrong_option_ends_with_2():
    done = run("sample-hub", "--port", "none")
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample-hub"],
        ["sample-hub", "--log", "/nowhere/events.ndjson"],
        ["sample-hub", "--events", "10", "--live", "0"],
    ],
)
def test_a_sample_hub_that_cannot_be_says_why(arguments: list[str]):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_command_gets_one_suggestion():
    done = run("stats")
    assert done.returncode == 2
    assert done.stderr.count("Did you mean") == 1
    assert "status" in done.stderr


def test_a_misspelt_variable_is_warned_of_once(tmp_path: Path):
    done = run("url", FC_DATA_DIR=str(tmp_path), FC_HUB_URL="http://127.0.0.1:9")
    said = "FC_HUB_URL is no setting of fc_pipeline; did you mean FC_HUB_URLS?"
    assert done.stderr.splitlines()[0] == said
    assert done.stderr.count("FC_HUB_URL is no setting") == 1


def test_the_version_is_printed():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"fc-pipeline {version('fc-pipeline')}\n")


@pytest.mark.parametrize("command", ["up", "sample-hub"])
def test_every_command_has_help(command: str):
    done = run(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout
