"""The entry point: collects the commands and turns errors into messages and exit codes."""

import logging
import sys
from contextlib import suppress
from importlib.metadata import version as installed_version
from typing import Annotated

import typer
from rich.console import Console

from fc_pipeline.causes import cause_of
from fc_pipeline.cli.alerts import alerts
from fc_pipeline.cli.backfill import backfill
from fc_pipeline.cli.bootstrap import bootstrap
from fc_pipeline.cli.hushing import hush_dagster
from fc_pipeline.cli.init import init
from fc_pipeline.cli.lake import lake
from fc_pipeline.cli.metrics import metrics
from fc_pipeline.cli.prove import prove
from fc_pipeline.cli.quarantine import quarantine
from fc_pipeline.cli.sample_hub import sample_hub
from fc_pipeline.cli.service import service
from fc_pipeline.cli.status import status
from fc_pipeline.cli.sync import sync
from fc_pipeline.cli.targets import targets
from fc_pipeline.cli.up import up
from fc_pipeline.cli.url import url
from fc_pipeline.cli.verify import verify
from fc_pipeline.config.log_format import log_format
from fc_pipeline.config.project import unnamed_root
from fc_pipeline.errors import ConfigError, FcPipelineError
from fc_pipeline.json_lines import JsonFormatter
from fc_pipeline.logs import formatter_of
from fc_pipeline.plain_text import plain

__all__ = ["app", "main"]

app = typer.Typer(
    name="fc-pipeline",
    help="Keep a trustworthy Postgres replica of the Farcaster network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    suggest_commands=False,  # click suggests by itself
)
app.command("up")(up)
app.command("sync")(sync)
app.command("backfill")(backfill)
app.command("bootstrap")(bootstrap)
app.command("verify")(verify)
app.command("prove")(prove)
app.add_typer(targets)
app.command("status")(status)
app.add_typer(alerts, name="alerts")
app.add_typer(quarantine, name="quarantine")
app.add_typer(lake, name="lake")
app.command("metrics")(metrics)
app.command("url")(url)
app.command("init")(init)
app.command("service")(service)
app.command("sample-hub")(sample_hub)


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"fc-pipeline {installed_version('fc-pipeline')}\n")
        raise typer.Exit


_WITHOUT_PROJECT = {"init", "sample-hub"}


def _print_project(command: str | None) -> None:
    """Print which project is used if the current folder is none: it could be another one."""
    if command is None or command in _WITHOUT_PROJECT or "--help" in sys.argv:
        return
    with suppress(ConfigError):  # the command itself reports that there is none
        if (root := unnamed_root()) is not None:
            ours = logging.getLogger("fc_pipeline")
            ours.warning("project: %s (this folder is none, and DAGSTER_HOME names none)", plain(str(root)))


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of every command."""
    if not debug:
        hush_dagster()
    handler = logging.StreamHandler()
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    handler.setFormatter(formatter_of(log_format(), "%(message)s"))
    # Not on the root logger: a run in this process logs to stderr itself if the root logger has no handler.
    ours = logging.getLogger("fc_pipeline")
    ours.setLevel(handler.level)
    ours.addHandler(handler)
    ours.propagate = False
    _print_project(context.invoked_subcommand)


def main() -> None:
    """Run the command of `sys.argv`; never returns."""
    debug = "--debug" in sys.argv
    try:
        app()
    except Exception as error:
        if debug:
            raise
        cause = cause_of(error)
        complain(cause)
        sys.exit(2 if isinstance(cause, ConfigError) else 1)


def complain(error: FcPipelineError) -> None:
    """Write an error and its hint to stderr, one line each; as one object with FC_LOG_FORMAT=json."""
    if log_format() == "json":
        told = (error.message, error.hint)
        record = logging.LogRecord(
            "fc_pipeline.cli", logging.ERROR, __file__, 0, "command_failed reason=%r hint=%r", told, None
        )
        sys.stderr.write(JsonFormatter().format(record) + "\n")
        return
    console = Console(stderr=True, soft_wrap=True)
    console.print("error:", style="bold red", end=" ")
    console.print(plain(error.message), markup=False, highlight=False)
    if error.hint:
        console.print("hint:", style="bold", end=" ")
        console.print(plain(error.hint), markup=False, highlight=False)
