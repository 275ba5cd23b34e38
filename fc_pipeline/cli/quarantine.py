"""`fc-pipeline quarantine`: list and show quarantined records, and fold those that this release understands."""

import json
import signal
import sys
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fc_pipeline.cli.backfill import counted
from fc_pipeline.config.project import dagster_home
from fc_pipeline.config.settings import Settings
from fc_pipeline.services import close_services_for_process, open_services, open_services_read_only

if TYPE_CHECKING:
    from fc_pipeline.repair.replay import QuarantineLine

__all__ = ["quarantine"]

_MAX_SHOWN = 50
_DETAIL_CHARACTERS = 100
_RAW_CHARACTERS = 20_000
_MIN_COLUMNS = 40
_INDENT = "    "
_NOT_LISTED = "; notes and resolved ones are listed with --all"

quarantine = typer.Typer(help="Look at records that were quarantined, and replay them.", no_args_is_help=True)

_Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; may be given several times.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@quarantine.command("list")
def list_records(
    reason: _Reasons = None,
    with_resolved: Annotated[bool, typer.Option("--all", help="Also notes and replayed records.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest first.")] = _MAX_SHOWN,
    as_json: _Json = False,
) -> None:
    """List open records: quarantined, and not folded by a replay yet."""
    settings = Settings.load()
    with open_services_read_only(settings) as opened:
        from fc_pipeline.repair.quarantine import quarantine_counts, quarantine_lines
        from fc_pipeline.replica import open_replica_to_read

        with open_replica_to_read(opened) as replica:
            lines = quarantine_lines(replica, reasons=reason or (), with_resolved=with_resolved, limit=limit)
            counts = quarantine_counts(replica, reasons=reason or (), with_resolved=with_resolved)
    if as_json:
        sys.stdout.write(json.dumps({"counts": counts, "records": [_as_json(line) for line in lines]}) + "\n")
        return
    console = Console(highlight=False)
    if not lines:
        console.print(f"no open records{' of this reason' if reason else ''}{'' if with_resolved else _NOT_LISTED}")
        return
    for line in lines:
        source = "feed" if line.is_of_feed else f"{line.source} of FID {line.fid}"
        state = ", resolved" if line.resolved_at else ""
        console.print(f"{line.name:<24} {line.reason:<12} {line.last_seen:%Y-%m-%d %H:%M}{state}", markup=False)
        detail = _printable(line.detail.encode())[:_DETAIL_CHARACTERS]
        # A hub's text is no markup. Wrapped by words, so that it stays below its record.
        text = f"{source}, {counted(len(line.raw), 'byte')}: {detail}"
        for part in textwrap.wrap(text, max(_MIN_COLUMNS, console.width) - len(_INDENT)):
            console.print(_INDENT + part, markup=False, soft_wrap=True)
    console.print("in all: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


@quarantine.command("show")
def show(record: Annotated[str, typer.Argument(help="Its name, as `list` shows it.")], as_json: _Json = False) -> None:
    """Show a record: why it was quarantined, and its bytes."""
    settings = Settings.load()
    with open_services_read_only(settings) as opened:
        from fc_pipeline.repair.quarantine import find_line
        from fc_pipeline.replica import open_replica_to_read

        with open_replica_to_read(opened) as replica:
            line = find_line(replica, record)
    if as_json:
        sys.stdout.write(json.dumps({**_as_json(line), "raw_hex": line.raw.hex()}) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in _as_json(line).items():
        console.print(f"{name}: {'' if value is None else _printable(str(value).encode())}", markup=False)
    console.print()
    console.print(_printable(line.raw[:_RAW_CHARACTERS]), markup=False)
    if len(line.raw) > _RAW_CHARACTERS:
        console.print(f"… {len(line.raw) - _RAW_CHARACTERS:,} bytes more; --json has all", markup=False)


@quarantine.command("replay")
def replay(
    records: Annotated[list[str] | None, typer.Argument(help="Names, as `list` shows them. Default: all.")] = None,
    reason: _Reasons = None,
    as_json: _Json = False,
) -> None:
    """Fold what this release can understand; what it cannot is left with its reason."""
    settings = Settings.load()
    # As Ctrl-C: the run is recorded as ended, and the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_services(settings, need_hub=False, need_redis=False) as opened:
        from fc_pipeline.repair.quarantine import quarantine_lines
        from fc_pipeline.replica import open_replica

        with open_replica(opened) as replica:  # reports unknown names at once
            quarantine_lines(replica, reasons=reason or (), names=records or (), limit=1)
        figures = _run(reason or [], records or [])
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    noted = f", {figures['noted']:,} stored without U+0000" if figures["noted"] else ""
    console.print(f"{figures['resolved']:,} records resolved{noted}, {figures['rows_written']:,} rows written")
    left: dict[str, str] = figures["left"]
    for detail, count in Counter(left.values()).most_common(_MAX_SHOWN):
        console.print(f"left, {count:,}: {_printable(detail.encode())[:_DETAIL_CHARACTERS]}", markup=False)


def _run(reasons: list[str], records: list[str]) -> dict[str, Any]:
    """A run of the job, as launched by the UI."""
    from dagster import DagsterInstance  # importing Dagster takes seconds

    from fc_pipeline.cli.in_process import run_for_output
    from fc_pipeline.orchestration.quarantine_job import REPLAY_QUARANTINE, ReplayConfig, fold_quarantined

    try:
        with DagsterInstance.from_config(str(dagster_home())) as instance:
            config = ReplayConfig(reasons=reasons, records=records)
            return run_for_output(instance, REPLAY_QUARANTINE.name, fold_quarantined.name, config)
    finally:
        close_services_for_process()


def _as_json(line: "QuarantineLine") -> dict[str, Any]:
    return {
        "record": line.name,
        "shard": line.shard,
        "event_id": line.event_id,
        "height": line.height,
        "reason": line.reason,
        "detail": line.detail,
        "source": line.source,
        "fid": line.fid,
        "first_seen": line.first_seen.isoformat(),
        "last_seen": line.last_seen.isoformat(),
        "resolved_at": line.resolved_at.isoformat() if line.resolved_at else None,
        "sha256": line.raw_sha256.hex(),
        "bytes": len(line.raw),
    }


def _printable(raw: bytes) -> str:
    """Bytes as text that is safe in a terminal: what is not printable UTF-8 is escaped."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
