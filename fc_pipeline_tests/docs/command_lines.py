"""Command lines, parsed by the real programs and not run."""

from collections.abc import Sequence
from functools import cache

import click
import typer
from dagster._cli import create_dagster_cli

from fc_pipeline.cli.main import app


@cache
def fc_pipeline() -> click.Command:
    return typer.main.get_command(app)


@cache
def dagster() -> click.Command:
    return create_dagster_cli()


def parse(program: click.Command, words: Sequence[str]) -> list[str]:
    """Parse a command line; gives the names of the commands that it leads to. Raises click.UsageError."""
    command, rest, path = program, list(words), list[str]()
    while isinstance(command, click.Group):
        while rest and any(rest[0] in option.opts for option in command.params):  # those of ours are flags
            rest.pop(0)
        name = rest.pop(0) if rest else ""
        below = command.get_command(click.Context(command), name)
        if below is None:
            raise click.UsageError(f"no such command: {' '.join([*path, name])}")
        path.append(name)
        command = below
    with command.make_context(path[-1], rest):
        return path
