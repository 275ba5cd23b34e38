"""`fc-pipeline bootstrap`: fill an empty replica from a node's own files. The same run that Dagster would launch."""

import json
import logging
import os
import signal
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fc_pipeline.config.project import dagster_home
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.services import close_services_for_process, open_services

if TYPE_CHECKING:
    from fc_pipeline.bulk_load.progress import LoadStep

__all__ = ["bootstrap"]

_MAX_WORKERS = 64


def bootstrap(
    node_db: Annotated[
        Path | None,
        typer.Option("--node-db", help="A node's rocksdb_dir (.rocks), stopped, running or a copy; it is only read."),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option("--snapshot", help="Where archives are published (snapshot_download_url), or a folder of them."),
    ] = None,
    lake: Annotated[bool, typer.Option("--lake", help="The snapshots of users that the lake has.")] = False,
    network: Annotated[str, typer.Option(help="Whose archives: mainnet, testnet or devnet.")] = "mainnet",
    workers: Annotated[
        int | None, typer.Option(help="Processes that read and load side by side.", min=1, max=_MAX_WORKERS)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
) -> None:
    """Fill an empty replica from a node's own files, or from snapshots in the lake, and go on with the feed."""
    if sum((node_db is not None, snapshot is not None, lake)) != 1:
        raise ConfigError(
            "bootstrap takes one of --node-db, --snapshot and --lake", hint="fc-pipeline bootstrap --help"
        )
    if snapshot is not None and "://" not in snapshot:
        snapshot = str(Path(snapshot).resolve())
    asked = {
        "node_db": None if node_db is None else str(node_db.resolve()),
        "snapshot": snapshot,
        "lake": lake,
        "network": network,
        "workers": workers or os.cpu_count() or 1,
    }
    warnings.filterwarnings("ignore", module="fc_pipeline")  # Dagster says "preview" of what the assets use
    settings = Settings.load()
    if not settings.hub_urls:
        raise ConfigError(
            "FC_HUB_URLS is not set: after the bootstrap a hub of the same network is followed",
            hint="name one; without it `up` would follow the sample hub, whose network is invented",
        )
    # As Ctrl-C: the run is recorded as ended, and the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_services(settings, need_hub=False, need_redis=False):
        figures = _run(asked, quiet=as_json)
    _print(figures, as_json=as_json)


def _run(asked: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    from dagster import DagsterInstance  # importing Dagster takes seconds

    from fc_pipeline.cli.in_process import run_for_output
    from fc_pipeline.orchestration.bootstrap_job import BOOTSTRAP, BootstrapConfig, load_node_files

    config = BootstrapConfig(**asked)
    try:
        with DagsterInstance.from_config(str(dagster_home())) as instance, _bar(quiet=quiet):
            return run_for_output(instance, BOOTSTRAP.name, load_node_files.name, config)
    finally:
        close_services_for_process()


@contextmanager
def _bar(*, quiet: bool) -> Generator[None]:
    """A progress bar per stage, fed by what the work logs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    logger = logging.getLogger("fc_pipeline")
    with Progress(*columns, console=Console(stderr=True, quiet=quiet)) as progress:
        bars: dict[str, Any] = {}

        class Feed(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                now: LoadStep | None = getattr(record, "load_progress", None)
                if now is None:
                    return
                if now.stage not in bars:
                    for bar in bars.values():
                        progress.update(bar, total=1, completed=1)
                    bars[now.stage] = progress.add_task(now.stage, total=None, records="")
                    if not quiet and not progress.console.is_terminal:  # bars would only be seen at the end
                        sys.stderr.write(f"{now.stage} ...\n")
                        sys.stderr.flush()
                if now.progress is not None and now.progress.leaves:
                    progress.update(
                        bars[now.stage],
                        total=now.progress.leaves,
                        completed=now.progress.leaves_done,
                        records=f"{now.progress.records:,} records",
                    )

        feed = Feed(logging.DEBUG)
        before = logger.level
        logger.addHandler(feed)
        logger.setLevel(logging.DEBUG)
        try:
            yield
            for bar in bars.values():
                progress.update(bar, total=1, completed=1)
        finally:
            logger.removeHandler(feed)
            logger.setLevel(before)


def _print(figures: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    for shard, height in figures["heights"].items():
        leaves = figures["leaves"][shard]
        proved = (
            "as the node's own trie says; the files have no header of that block"
            if shard in figures["unproved_by_header"]
            else "proved by the root in its header"
        )
        console.print(f"shard {shard}: {leaves:,} records as of block {height:,}, {proved}")
    console.print(f"loaded in {figures['seconds']:,.0f} s; `fc-pipeline up` goes on from there with the feed")
