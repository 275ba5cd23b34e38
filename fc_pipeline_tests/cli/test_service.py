"""`fc-pipeline service`: its unit is one that systemd takes, whatever the project's folder is called."""

import configparser
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fc_pipeline.cli.up import STOP_SECONDS, longest_stop_seconds
from fc_pipeline.config.project import project_root
from fc_pipeline.errors import ConfigError
from fc_pipeline.orchestration.servers.dagster import END_SECONDS
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.systemd_unit import UNIT_NAME, unit_text

ANALYZE = shutil.which("systemd-analyze")
NAMES = ["plain", "two words", "100% of %h", "$HOME of ${HOME}", "Käse; ünd #"]

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze (apt install systemd)")


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project folder with an interpreter of its own in it."""
    folder = tmp_path / request.param
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    shutil.copy(project_root() / "workspace.yaml", folder)
    return folder


def service(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}
    command = [sys.executable, "-m", "fc_pipeline.cli", "service", *arguments]
    env |= {"PYTHONPATH": str(project_root()), **variables}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def verified(unit: Path, *options: str) -> str:
    """What systemd finds wrong with a unit's own lines."""
    assert ANALYZE is not None
    command = [ANALYZE, "verify", "--man=no", *options, str(unit)]
    runtime = {"XDG_RUNTIME_DIR": str(unit.parent)}
    done = subprocess.run(
        command, env={**os.environ, **runtime}, capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if UNIT_NAME in line]
    return "\n".join(said)


@needs_systemd
@pytest.mark.parametrize("user", [None, pwd.getpwuid(os.getuid()).pw_name])
def test_systemd_takes_the_unit_of_any_folder(folder: Path, tmp_path: Path, user: str | None):
    python = folder / ".venv" / "bin" / "python"
    unit = tmp_path / UNIT_NAME
    unit.write_text(unit_text(folder, python, stop_seconds=90, user=user, port=3000))
    options = ["--user"] if user is None else []
    assert verified(unit, *options) == ""
    # It did look: the same unit of an interpreter that is not there is refused, and by the name that it has.
    unit.write_text(unit_text(folder, python.with_name("gone"), stop_seconds=90, user=user))
    assert f"Command {folder / '.venv' / 'bin' / 'gone'} is not executable" in verified(unit, *options)


def test_the_unit_is_printed_for_this_folder_and_interpreter(folder: Path):
    printed = service(folder)
    assert printed.returncode == 0, printed.stderr
    assert printed.stderr == ""
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    unit.read_string(printed.stdout)
    lines = dict(unit["Service"])
    assert lines["WorkingDirectory"].replace("%%", "%") == str(folder)
    assert lines["ExecStart"] == f':"{sys.executable}" -m fc_pipeline.cli up'
    assert lines["Restart"] == "on-failure"
    assert "User" not in lines
    assert dict(unit["Install"]) == {"WantedBy": "default.target"}
    # What `up` waits for when it stops, and the longest of its servers' patience on top.
    (_, fast), *_ = EmbeddedPostgres.stop_signals
    assert float(lines["TimeoutStopSec"]) == longest_stop_seconds() > END_SECONDS + STOP_SECONDS + fast


def test_a_unit_is_written_once_and_never_over_another(tmp_path: Path):
    written = service(project_root(), "--system", "--user", "fc", "--write", str(tmp_path / "units"))
    file = tmp_path / "units" / UNIT_NAME
    assert written.returncode == 0, written.stderr
    assert f"next: sudo systemctl enable --now {file}" in written.stdout
    text = file.read_text()
    assert "\nUser=fc\n" in text
    assert "WantedBy=multi-user.target" in text
    again = service(project_root(), "--system", "--user", "fc", "--write", str(file.parent))
    assert again.returncode == 0
    other = service(project_root(), "--write", str(file.parent))
    assert other.returncode == 2
    assert "is there already" in other.stderr
    assert file.read_text() == text


def test_what_the_service_would_not_see_is_said(tmp_path: Path):
    printed = service(project_root(), FC_HUB_URLS="http://127.0.0.1:1")
    assert printed.returncode == 0
    assert "['FC_HUB_URLS']" in printed.stderr


@pytest.mark.parametrize("arguments", [["--system"], ["--user", "fc"]])
def test_a_unit_of_the_system_has_a_user_and_no_other_one_does(arguments: list[str]):
    refused = service(project_root(), *arguments)
    assert refused.returncode == 2
    assert "--system --user fc" in refused.stderr


@pytest.mark.parametrize("name", ["two\nlines", "ends with \\", "ends with a blank "])
def test_a_folder_that_no_unit_can_name_is_refused(name: str):
    with pytest.raises(ConfigError, match="no systemd unit can name"):
        unit_text(Path("/srv") / name, Path(sys.executable), stop_seconds=90)


@pytest.mark.parametrize("name", ["it's", 'a "quoted" one', "back\\slash"])
def test_a_program_that_systemd_does_not_take_is_refused(name: str):
    with pytest.raises(ConfigError, match="no systemd unit can name"):
        unit_text(Path("/srv"), Path("/srv") / name / "python", stop_seconds=90)
