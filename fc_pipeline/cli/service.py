"""`fc-pipeline service`: a systemd unit for `up` in this project folder."""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fc_pipeline.cli.up import longest_stop_seconds
from fc_pipeline.config.project import project_root
from fc_pipeline.config.variables import OF_PROCESSES
from fc_pipeline.errors import ConfigError
from fc_pipeline.services.systemd_unit import UNIT_NAME, unit_text

__all__ = ["service"]

_log = logging.getLogger(__name__)


def service(
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", help=f"Write it as {UNIT_NAME} into this folder, and print it not.")
    ] = None,
    system: Annotated[bool, typer.Option("--system", help="A unit of the system, not of your user.")] = False,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="With --system: the user to run as.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the Dagster UI, as of up.", min=1)] = None,
) -> None:
    """Print a systemd unit that keeps up running in this project folder, or write it. Starts nothing."""
    if system != (user is not None):
        raise ConfigError("--system and --user go together", hint="as in: --system --user fc")
    # Not resolved: the interpreter of a .venv is a link, and another one where it leads to.
    python = Path(sys.executable).absolute()
    text = unit_text(project_root().resolve(), python, stop_seconds=longest_stop_seconds(), user=user, port=port)
    _warn_of_shell_variables()
    if write is None:
        sys.stdout.write(text)
        return
    file = write / UNIT_NAME
    _write(file, text)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"wrote {file}", markup=False)
    for command in _next_commands(file, is_of_system=system):
        console.print(f"next: {command}", markup=False)


def _warn_of_shell_variables() -> None:
    names = sorted(name for name in os.environ if name.startswith("FC_") and name not in OF_PROCESSES)
    if names:
        _log.warning("not_of_the_service names=%s: the service reads .env, and not what this shell sets", names)


def _write(file: Path, text: str) -> None:
    """Write it, unless there is another one. Raises ConfigError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as unit:
            unit.write(text)
    except FileExistsError:
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            return
        raise ConfigError(
            f"{file} is there already, and says otherwise",
            hint="move it away; what you add yourself is kept apart by `systemctl edit`",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be written: {error.strerror}", hint="name a folder that you may write to"
        ) from error


def _next_commands(file: Path, *, is_of_system: bool) -> list[str]:
    systemctl = "sudo systemctl" if is_of_system else "systemctl --user"
    places = [Path("/etc/systemd/system")] if is_of_system else [Path.home() / ".config" / "systemd" / "user"]
    installed = file.parent.resolve() in places
    name = UNIT_NAME if installed else shlex.quote(str(file.resolve()))
    commands = [f"{systemctl} daemon-reload"] if installed else []
    commands.append(f"{systemctl} enable --now {name}")
    return (
        commands if is_of_system else [*commands, "loginctl enable-linger  # so that it runs while you are logged out"]
    )
