"""`fc-pipeline verify`: the tables against the hub. Nothing is written, and nothing is recorded as a run."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fc_pipeline.cli.backfill import counted, numbers_of
from fc_pipeline.cli.chosen_fids import describe_left_out, left_out, named_fids
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.plain_text import plain
from fc_pipeline.printed_commands import runnable
from fc_pipeline.services import open_services_read_only

if TYPE_CHECKING:
    from fc_pipeline.backfill.verify import Verification
    from fc_pipeline.reconcile.outcome import Difference

__all__ = ["described", "differing_columns", "verify"]

DEFAULT_SAMPLE = 100
MAX_SHOWN = 20
MAX_HEALED_BY_NAME = 100
"""Up to this many FIDs are named in a command to copy."""
_MAX_FID = 2**63 - 1
_MAX_VALUE_CHARACTERS = 60
_OF_HISTORY = {
    "missing": "not here yet (history not covered)",
    "different": "another version here (history not covered)",
    "phantom": "only here (history not covered)",
}


def verify(
    fids: Annotated[str | None, typer.Option(help="These users, such as 3,12.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help=f"This many users drawn at random (default: {DEFAULT_SAMPLE}).")
    ] = None,
    read: Annotated[
        bool, typer.Option("--read", help="Read every user, also those whose records are equal by hash (FC_HUB_GRPC).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
) -> None:
    """Compare the tables with what the hub says of users.

    Where FC_HUB_GRPC is set, hashes are compared first, and only users who differ are read.

    Exit code 1 if a row is wrong without a known reason, a user could not be read, one of --fids is unknown to the hub,
    or no FID could be compared.
    """
    if fids is not None and sample is not None:
        raise ConfigError("verify takes one of --fids and --sample", hint="fc-pipeline verify --help")
    chosen = numbers_of(fids, "--fids", 1, _MAX_FID) if fids is not None else None
    settings = Settings.load()
    with open_services_read_only(settings, need_hub=True, need_redis=None) as opened:
        from fc_pipeline.backfill.verify import verify as compare
        from fc_pipeline.replica import open_replica_to_read

        with open_replica_to_read(opened) as replica:
            others = left_out(replica, chosen) if chosen is not None else []
            with _bar(quiet=as_json) as progress:
                bar = progress.add_task("fids", total=None)
                found = compare(
                    replica,
                    fids=None if chosen is None else set(chosen).difference(others),
                    sample=None if chosen is not None else sample or DEFAULT_SAMPLE,
                    hashes_first=not read,
                    on_progress=lambda now: progress.update(bar, total=now.fids, completed=now.fids_done),
                )
    if as_json:
        sys.stdout.write(json.dumps({**_figures(found), **({"not_targets": others} if others else {})}) + "\n")
    else:
        console = Console(highlight=False, soft_wrap=True)
        if others:
            console.print(describe_left_out(others))
        _print_result(console, found)
    if found.drift or found.unread or not found.comparable_fids or (chosen is not None and found.unknown_fids):
        raise typer.Exit(1)


def _bar(*, quiet: bool) -> Progress:
    columns = (TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TextColumn("FIDs"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True, quiet=quiet))


def _figures(found: "Verification") -> dict[str, Any]:
    compared = found.compared
    return {
        "fids": found.fids,
        "equal_by_hash": found.equal_fids,
        "requests": found.requests,
        "records": compared.messages,
        "drift": dict(compared.drift),
        "not_backfilled": dict(compared.history),
        "judged_fids": found.comparable_fids,
        "unjudged_fids": len(found.awaiting_fids) + len(found.uncovered_fids),
        "awaiting_fids": found.awaiting_fids,
        "uncovered_fids": found.uncovered_fids,
        "unknown_fids": found.unknown_fids,
        "unread_fids": {str(fid): reason for fid, reason in found.unread.items()},
        "differences": [_as_json(one) for one in compared.examples],
    }


def _as_json(one: "Difference") -> dict[str, Any]:
    """A difference with its rows as JSON objects."""
    return {
        "table": one.table,
        "fid": one.fid,
        "change": one.change,
        "is_drift": one.is_drift,
        "key": json.loads(one.key),
        "table_row": json.loads(one.table_row) if one.table_row else None,
        "hub_row": json.loads(one.hub_row) if one.hub_row else None,
    }


def _print_result(console: Console, found: "Verification") -> None:
    compared = found.compared
    if found.equal_fids:
        console.print(
            f"{counted(found.equal_fids, 'FID')} of {found.fids:,} equal by the hashes of the hub's tries: the same "
            "records, whose columns were not compared (--read does)"
        )
    read = found.fids - found.equal_fids
    console.print(f"{counted(read, 'FID')}, {counted(compared.messages, 'record')} of the hub compared")
    for counts, what in (
        (compared.drift, "drift, rows that are wrong although their history is covered"),
        (compared.history, "not backfilled or not folded yet, rows whose history the replica does not have"),
    ):
        if counts:
            listed = ", ".join(f"{table} {rows:,}" for table, rows in sorted(counts.items()))
            console.print(f"{what}: {listed}", markup=False)
    for one in compared.examples[:MAX_SHOWN]:
        console.print(f"  {plain(described(one), one_line=True)}", markup=False)
    more = found.drift + found.history - min(len(compared.examples), MAX_SHOWN)
    if more > 0:
        console.print(f"  and {more:,} more")
    _print_not_comparable(console, found)
    for fid, reason in list(found.unread.items())[:MAX_SHOWN]:
        console.print(f"FID {fid} could not be read: {plain(reason, one_line=True)}", markup=False)
    if found.unknown_fids:
        console.print(f"the hub has no record of {named_fids(found.unknown_fids)}: no such user of its network")
    _print_left_out(console)
    _print_verdict(console, found)


def _print_left_out(console: Console) -> None:
    from fc_pipeline.tables.columns import Comparison  # what only starts and fails needs none of this
    from fc_pipeline.tables.registry import DATA_TABLES

    tables = ", ".join(name for name, table in DATA_TABLES.items() if table.comparison is Comparison.NONE)
    console.print(f"left out, since no hub has them by user: {tables}", markup=False)


def _print_not_comparable(console: Console, found: "Verification") -> None:
    for fids, why, remedy in (
        (found.awaiting_fids, "the tables are not yet where the hub is", "fc-pipeline sync"),
        (found.uncovered_fids, "their history was never read", _healing_command(found.uncovered_fids)),
    ):
        if fids:
            sentence = f"not compared, or not in every table: {named_fids(fids)}, for {why}; remedy: {runnable(remedy)}"
            console.print(sentence, markup=False)


def _print_verdict(console: Console, found: "Verification") -> None:
    compared = found.compared
    to_heal = sorted(compared.differing_fids - found.incomparable_fids)
    if to_heal:
        console.print(f"to put it right: {runnable(_healing_command(to_heal))}")
    if not found.comparable_fids:
        console.print("no FID could be compared")
    elif not compared.differing_fids:
        console.print(f"0 differences in {counted(found.comparable_fids, 'FID')} compared")


def _healing_command(fids: list[int]) -> str:
    if len(fids) > MAX_HEALED_BY_NAME or 0 in fids:  # which is no user's number
        return "fc-pipeline backfill --all"
    return f"fc-pipeline backfill --fids {','.join(map(str, fids))}"


def described(one: "Difference") -> str:
    """One line: where, how, and which columns differ."""
    where = f"{one.table} of FID {one.fid}, {one.key}"
    what = one.change if one.is_drift else _OF_HISTORY[one.change]
    if one.table_row is None or one.hub_row is None or one.change != "different":
        return f"{what}: {where}"
    columns = differing_columns(json.loads(one.table_row), json.loads(one.hub_row))
    return f"{what}: {where}: " + "; ".join(
        f"{name} is {_short(ours)}, on the hub {_short(theirs)}" for name, (ours, theirs) in columns.items()
    )


def differing_columns(table_row: dict[str, Any], hub_row: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The columns that differ, each with the table's value and the hub's; versions are not compared."""
    return {
        name: (value, hub_row.get(name))
        for name, value in table_row.items()
        if name != "version" and value != hub_row.get(name)
    }


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_CHARACTERS else text[: _MAX_VALUE_CHARACTERS - 1] + "…"
