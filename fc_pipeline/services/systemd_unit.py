"""A systemd unit that keeps `up` running in a project folder."""

from pathlib import Path
from typing import Final

from fc_pipeline.errors import ConfigError

__all__ = ["UNIT_NAME", "unit_text"]

UNIT_NAME: Final = "fc-pipeline.service"
_RESTART_SECONDS: Final = 10

# Only `up` gets SIGTERM and stops the others in order; what is left after the stop time is killed. No PrivateTmp:
# sockets of a long data path are below /tmp, and a shell could not reach them.
_UNIT: Final = """\
[Unit]
Description=fc_pipeline: a Postgres replica of the Farcaster network
{after}
[Service]
Type=exec
{user}WorkingDirectory={folder}
ExecStart=:{command}
KillMode=mixed
TimeoutStopSec={stop_seconds:.0f}
Restart=on-failure
RestartSec={restart_seconds}

[Install]
WantedBy={target}
"""
_AFTER_NETWORK: Final = "After=network-online.target\nWants=network-online.target\n"


def unit_text(
    folder: Path, python: Path, *, stop_seconds: float, user: str | None = None, port: int | None = None
) -> str:
    """The unit of a project folder, whose `up` is run by this Python and needs up to `stop_seconds` to end.

    With `user` a unit of the system, which runs as this user; else one of whoever installs it. Raises ConfigError for a
    path that no unit can name.
    """
    words = [str(python), "-m", "fc_pipeline.cli", "up", *([] if port is None else ["--port", str(port)])]
    return _UNIT.format(
        after=_AFTER_NETWORK if user else "",
        user=f"User={_escaped(user)}\n" if user else "",
        folder=_escaped(str(folder)),
        command=" ".join([_quoted(words[0]), *words[1:]]),
        stop_seconds=stop_seconds,
        restart_seconds=_RESTART_SECONDS,
        target="multi-user.target" if user else "default.target",
    )


def _escaped(text: str) -> str:
    """A value that is all of its line: there `%` begins a specifier, and a backslash at the end goes on below."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise _unnameable(text)
    return text.replace("%", "%%")


def _quoted(program: str) -> str:
    """The program of a command, in which systemd takes no quotes; `$` stands for itself, as `:` begins the command."""
    if any(character in program for character in "\"'\\"):
        raise _unnameable(program)
    return f'"{_escaped(program)}"'


def _unnameable(text: str) -> ConfigError:
    return ConfigError(
        f"no systemd unit can name {text!r}", hint="move it to a path without quotes, backslashes and line ends"
    )
