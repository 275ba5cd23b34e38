"""The package installed as a wheel, in an empty folder: `init`, and then everything as in a checkout."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from fc_pipeline.config.project import project_root

LOOKS_SECONDS = 300


class Installed:
    """An environment with the wheel, which takes what the wheel depends on from the environment of the tests."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.project = folder / "my project"
        self.project.mkdir()
        _done(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
        root = str(project_root())
        _done(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder / "wheels"), root)
        (wheel,) = (folder / "wheels").glob("*.whl")
        _done(*pip, "--python", str(self.bin / "python"), "install", "--no-deps", str(wheel))
        (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # A line in a .pth file brings the packages of the folder, not the .pth files there: our checkout stays out.
        (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FC_", "DAGSTER_", "PYTHON"))}
        return subprocess.run(
            [self.bin / "fc-pipeline", *arguments],
            cwd=self.project,
            env={**kept, **variables},
            capture_output=True,
            text=True,
            timeout=LOOKS_SECONDS,
        )


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
    assert files == {".env", ".gitignore", "dagster.yaml", "docs/roles.sql", "workspace.yaml"}
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
