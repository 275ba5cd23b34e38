"""A copy of the project in which a test changes the source, and a pytest run on it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fc_pipeline.config.project import project_root

__all__ = ["Change", "copy_project", "run_in_copy"]

COPIED = ("fc_pipeline", "fc_pipeline_tests", "pyproject.toml", "dagster.yaml", "data/sample")


@dataclass(frozen=True)
class Change:
    """One place of a file of the package: the text that must stand there exactly once, and what is put in its place."""

    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Change the file. Raises ValueError if the text is not there once."""
        path = package / self.file
        source = path.read_text(encoding="utf-8")
        if source.count(self.old) != 1:
            raise ValueError(f"{self.file}: {source.count(self.old)} times, not once: {self.old!r}")
        path.write_text(source.replace(self.old, self.new), encoding="utf-8")


def copy_project(folder: Path, *also: str) -> Path:
    """Copy what tests need, and what else is named, into `folder`."""
    for name in (*COPIED, *also):
        source, target = project_root() / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def run_in_copy(project: Path, *arguments: str, timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    """Run `python …` in the copy, where `fc_pipeline` and `fc_pipeline_tests` are those of the copy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "PYTEST_"))}
    # Without bytecode: a change within a second that keeps a file's size would go unnoticed.
    environment = {**kept, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
