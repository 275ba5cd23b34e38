"""The package installed as a wheel, in an empty folder: `init`, and then everything as in a checkout."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
import typer.main

from fc_pipeline.cli.main import app
from fc_pipeline.config.project import PROJECT_FILES, project_root
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.receiver import receiving

LOOKS_SECONDS = 300
RUNBOOK_OF_CASTS = """
from fc_pipeline import build_defs
(casts,) = [node for node in build_defs().resolve_asset_graph().asset_nodes if node.key.path[-1] == "casts"]
print(casts.metadata["runbook"].value)
"""
NO_RECORD = "1-670761811968-3f2a9c01"

ENDING = {
    "init": ("", "kept  dagster.yaml"),
    "sync": ("--json", '"complete": true'),
    "status": ("", "no holes"),
    "backfill": ("--fids 3,12", "2 FIDs reconciled"),
    "verify": ("--fids 3,12 --json", '"drift": {}'),
    "bootstrap": ("--node-db .", "FC_HUB_URLS is not set"),
    "prove": ("--messages 100", "messages proved by hash, signature and signer"),
    "url": ("", "postgresql://postgres:"),
    "service": ("", "WorkingDirectory="),
    "alerts test": ("", "1 (JSON): accepted"),
    "quarantine list": ("", "no open records"),
    "quarantine show": (NO_RECORD, "no record is called"),
    "quarantine replay": ("", "0 records resolved"),
    "lake show": ("", "they agree      yes"),
    "lake adopt": ("--yes", "of which 0 are not in"),
}
"""Commands that end: how each is called beside a running `up`, and what it says."""

OF_TARGETS = {
    "targets add": ("12", "1 target added"),
    "targets list": ("", "12"),
    "targets why": ("12", "named"),
    "targets remove": ("12", "1 removed"),
}
"""The same, of commands that need a target set."""

LASTING = {
    "up": ("", "fc-pipeline is up"),
    "metrics": ("--port 0", "metrics: http://127.0.0.1:"),
    "alerts watch": ("", "watch_begins"),
    "sample-hub": ("--events 100 --port 0", "sample hub: http://127.0.0.1:"),
}
"""Commands that run until they are told to end."""


class Installed:
    """An environment with the wheel, which takes what the wheel depends on from the environment of the tests.

    Its user has a home without anything in it.
    """

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.project = folder / "my project"
        self.home = folder / "home of mine"
        self.project.mkdir()
        self.home.mkdir()
        _done(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
        root = str(project_root())
        _done(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder / "wheels"), root)
        (wheel,) = (folder / "wheels").glob("*.whl")
        _done(*pip, "--python", str(self.bin / "python"), "install", "--no-deps", str(wheel))
        (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # A line in a .pth file brings the packages of the folder, not the .pth files there: our checkout stays out.
        (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        """A program that imports the package, in the project's folder."""
        return subprocess.run(
            [self.bin / "python", "-W", "ignore", "-c", program],
            cwd=self.project,
            env=self._environment({}),
            capture_output=True,
            text=True,
            check=True,
            timeout=LOOKS_SECONDS,
        )

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / "fc-pipeline", *arguments],
            cwd=self.project,
            env=self._environment(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LOOKS_SECONDS,
        )

    @contextmanager
    def lasting(self, *arguments: str, says: str, **variables: str) -> Iterator[None]:
        """A command that runs on, once it said this; it ends when it is told to, without an error."""
        said = self.home.parent / f"{'-'.join(arguments[:2])}.out"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [self.bin / "fc-pipeline", *arguments],
                cwd=self.project,
                env=self._environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            deadline = time.monotonic() + LOOKS_SECONDS
            while says not in said.read_text():
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline, said.read_text()
                time.sleep(0.2)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=LOOKS_SECONDS)
        assert code == 0, said.read_text()
        assert "Traceback" not in said.read_text()

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.defpath, "LANG": "C.UTF-8", **variables}


def _done(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_in_an_empty_folder(tmp_path: Path) -> None:
    installed = Installed(tmp_path)
    lost = installed.run("sync")
    assert lost.returncode == 2
    assert "no fc_pipeline project in" in lost.stderr
    assert "fc-pipeline init" in lost.stderr

    begun = installed.run("init")
    assert begun.returncode == 0, begun.stderr
    files = {str(path.relative_to(installed.project)) for path in installed.project.rglob("*") if path.is_file()}
    assert files == {".env", ".gitignore", *PROJECT_FILES}
    assert installed.python(RUNBOOK_OF_CASTS).stdout.startswith("## ")
    (installed.project / ".env").write_text("FC_BATCH_EVENTS=5000\n")
    again = installed.run("init")
    assert again.returncode == 0
    assert again.stdout.count("kept ") == len(files)
    assert (installed.project / ".env").read_text() == "FC_BATCH_EVENTS=5000\n"

    for _ in range(5):
        synced = installed.run("sync", "--json")
        assert synced.returncode == 0, synced.stderr
        assert json.loads(synced.stdout)["complete"]
        verified = installed.run("verify", "--fids", "3,12", "--json")
        # The sample's users act on: whoever did so since the sync cannot be compared yet.
        if verified.returncode == 0:
            break
        assert not json.loads(verified.stdout)["drift"], verified.stdout
    else:
        pytest.fail(f"no sync was followed by a verify that could compare both: {verified.stdout}")
    assert json.loads(verified.stdout)["records"] > 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    installed.project, home = elsewhere, installed.project
    status = installed.run("status", "--json", DAGSTER_HOME=str(home))
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["state"] == "no_hub"  # the sample hub ended with the command that started it
    assert not list(elsewhere.iterdir())


def commands(command: click.Command, name: str = "") -> Iterator[str]:
    """The names of all commands that `fc-pipeline --help` and the groups in it list."""
    if not isinstance(command, click.Group):
        yield name
        return
    for part, below in command.commands.items():
        yield from commands(below, f"{name} {part}".strip())


def test_every_command_is_tried_from_the_wheel() -> None:
    assert set(commands(typer.main.get_command(app))) == {*ENDING, *OF_TARGETS, *LASTING}


def tried(installed: Installed, cases: Mapping[str, tuple[str, str]], **variables: str) -> None:
    for command, (arguments, says) in cases.items():
        done = installed.run(*command.split(), *arguments.split(), **variables)
        assert says in done.stdout + done.stderr, f"{command}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, command


@pytest.mark.slow
def test_every_command_works(tmp_path: Path) -> None:
    installed = Installed(tmp_path)
    assert installed.run("init").returncode == 0
    up = {"FC_METRICS_PORT": str(free_port()), "FC_FOLLOW_SECONDS": "30"}
    with receiving() as accepts:
        told = {"FC_ALERT_URLS": accepts.url}
        with installed.lasting("up", "--port", str(free_port()), says=LASTING["up"][1], **up):
            tried(installed, ENDING, **told)
            for command, (arguments, says) in LASTING.items():
                if command != "up":
                    with installed.lasting(*command.split(), *arguments.split(), says=says, **told):
                        pass
    tried(installed, OF_TARGETS, FC_TARGETS="set", FC_ROOT_FIDS="3", FC_DATA_DIR="data of targets")
    assert not list(installed.home.iterdir())
