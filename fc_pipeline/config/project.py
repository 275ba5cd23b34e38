"""The project folder: where Dagster's instance, `.env` and the data lie; and the files that a new one begins with."""

import logging
import os
import re
from pathlib import Path
from typing import Final

from fc_pipeline.errors import ConfigError

__all__ = ["PROJECT_FILES", "dagster_home", "project_file", "project_root", "unnamed_root", "update_modules"]

log = logging.getLogger(__name__)

PROJECT_FILES: Final = (
    *("dagster.yaml", "workspace.yaml", "docs/roles.sql"),
    *("docs/checks.md", "docs/alerts.md", "deploy/prometheus/rules.yml", "deploy/grafana/fc_pipeline.json"),
)
"""What `fc-pipeline init` writes, beside `.env`: what is needed, and what checks, messages and Prometheus refer to."""

_MOVED_MODULES: Final = {
    "fc_pipeline.instance_storage": "fc_pipeline.orchestration.instance.storage",
    "fc_pipeline.services.run_launcher": "fc_pipeline.orchestration.instance.run_launcher",
}
"""What a dagster.yaml written by an earlier release calls them, and where they are now."""
_MODULE: Final = re.compile(r"(?m)^(\s*module:\s*)([\w.]+)")

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


def dagster_home() -> Path:
    """The project folder as Dagster's home: its dagster.yaml names the modules of this release. Raises ConfigError."""
    root = project_root()
    update_modules(root / "dagster.yaml")
    return root


def update_modules(instance_file: Path) -> bool:
    """Rewrite the names of modules that have moved since a dagster.yaml was written; whether there were any.

    All else in the file stays as it is. Raises ConfigError if it cannot be written.
    """
    try:
        text = instance_file.read_text(encoding="utf-8")
        updated = _MODULE.sub(lambda found: found[1] + _MOVED_MODULES.get(found[2], found[2]), text)
        if updated == text:
            return False
        instance_file.write_text(updated, encoding="utf-8")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(
            f"{instance_file} cannot be updated to the modules of this release: {error.strerror}",
            hint=f"run `fc-pipeline init {instance_file.parent}` as a user who may write to it",
        ) from error
    log.warning("modules_updated file=%s: it named modules of an earlier release", instance_file)
    return True


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
