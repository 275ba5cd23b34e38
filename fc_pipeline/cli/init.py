"""`fc-pipeline init`: creates a project folder, for users who installed the package and have no checkout."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fc_pipeline.config.project import PROJECT_FILES, project_file, update_modules
from fc_pipeline.config.reference import env_file
from fc_pipeline.errors import ConfigError
from fc_pipeline.printed_commands import runnable

__all__ = ["init"]

_GITIGNORE = "/.env\n/data/\n"


def init(
    folder: Annotated[Path, typer.Argument(help="The folder; made where it does not exist. Default: here.")] = Path(),
) -> None:
    """Write what a project folder needs: dagster.yaml, workspace.yaml, .env, docs/, deploy/. Nothing is overwritten.

    In a folder of an earlier release, dagster.yaml gets the names that its modules have now.
    """
    files = {name: project_file(name).read_text(encoding="utf-8") for name in PROJECT_FILES}
    console = Console(highlight=False, soft_wrap=True)
    for name, text in {**files, ".env": env_file(), ".gitignore": _GITIGNORE}.items():
        written = _write_new(folder / name, text)
        console.print(f"{'wrote' if written else 'kept '} {folder / name}", markup=False)
    if update_modules(folder / "dagster.yaml"):
        console.print(f"updated {folder / 'dagster.yaml'}: it named modules of an earlier release", markup=False)
    to_folder = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    command = runnable("fc-pipeline up", folder=folder)
    console.print(f"next: {to_folder}{command}", markup=False)
    console.print(f'for the dagster command: export DAGSTER_HOME="{folder.resolve()}"', markup=False)


def _write_new(path: Path, text: str) -> bool:
    """Write a file that does not exist yet; returns whether it was written. Raises ConfigError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.is_file():
            return False
        raise ConfigError(f"{path} cannot be written: something else has its name", hint="move it away") from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", hint="name a folder that this user may write to"
        ) from error
    return True
