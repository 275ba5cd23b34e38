"""The project folder: where Dagster's instance, `.env` and the data lie; and the files that a new one begins with."""

import os
from pathlib import Path
from typing import Final

from fc_pipeline.errors import ConfigError

__all__ = ["PROJECT_FILES", "project_file", "project_root", "unnamed_root"]

PROJECT_FILES: Final = ("dagster.yaml", "workspace.yaml", "docs/roles.sql")
"""What `fc-pipeline init` writes, beside `.env`."""

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_CHECKOUT: Final = _PACKAGE.parent


def project_root() -> Path:
    """The folder with our workspace.yaml: the current one, else that of DAGSTER_HOME, else our checkout.

    Raises:
        ConfigError: none is one (the package is installed as a wheel and the command runs in some other folder).
    """
    dagster_home = os.environ.get("DAGSTER_HOME", "").strip()
    folders = [Path.cwd(), *([Path(dagster_home).expanduser()] if dagster_home else []), _CHECKOUT]
    for folder in folders:
        workspace = folder / "workspace.yaml"
        if workspace.is_file() and "fc_pipeline" in workspace.read_text(encoding="utf-8", errors="replace"):
            return folder
    raise ConfigError(
        f"no fc_pipeline project in {Path.cwd()}: there is no workspace.yaml of ours",
        hint="make one here by `fc-pipeline init`, or go to the project's folder, or name it in DAGSTER_HOME",
    )


def unnamed_root() -> Path | None:
    """Our checkout, where it is the project though neither the current folder nor DAGSTER_HOME says so; else None."""
    root = project_root()
    here = Path.cwd()
    is_named = root != _CHECKOUT or here.is_relative_to(root) or bool(os.environ.get("DAGSTER_HOME", "").strip())
    return None if is_named else root


def project_file(name: str) -> Path:
    """A file that comes with the release: in the package where it was installed as a wheel, else in the checkout."""
    in_wheel = _PACKAGE / "project_files" / name
    return in_wheel if in_wheel.is_file() else _CHECKOUT / name
