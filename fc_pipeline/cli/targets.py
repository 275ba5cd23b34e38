"""`fc-pipeline targets`: the target set with reasons; adding and removing users, and previewing the effect."""

import json
import sys
from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fc_pipeline.cli.backfill import counted, numbers_of
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.printed_commands import runnable
from fc_pipeline.services import open_services, open_services_read_only

if TYPE_CHECKING:
    from fc_pipeline.replica import Replica
    from fc_pipeline.targets.recompute import SetChange

__all__ = ["targets"]

_MAX_FID = 2**63 - 1
_MAX_SHOWN = 10
_Fids = Annotated[str, typer.Argument(help="Users by FID, such as 3 or 3,12.", metavar="FIDS")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

targets = typer.Typer(
    name="targets", help="With FC_TARGETS=set: who is indexed, and why.", no_args_is_help=True, rich_markup_mode=None
)


def _settings() -> Settings:
    settings = Settings.load()
    if settings.targets != "set":
        raise ConfigError(
            "FC_TARGETS=all: everybody is replicated, there is no target set", hint="set FC_TARGETS=set to have one"
        )
    return settings


def _refuse_named(fids: Collection[int], named: Collection[int], variable: str, what_then: str) -> None:
    """Raise ConfigError if the settings say otherwise: they take precedence."""
    if both := sorted(set(fids) & set(named)):
        raise ConfigError(
            f"{variable} names {', '.join(map(str, both))}: the next start would {what_then}",
            hint=f"take them out of {variable}",
        )


@targets.command("add")
def add(
    fids: _Fids,
    root: Annotated[bool, typer.Option("--root", help="The users they follow are targets, too.")] = False,
    most: Annotated[int | None, typer.Option(help="With --root: at most this many each, the longest followed.")] = None,
    what_if: Annotated[bool, typer.Option("--what-if", help="Only say what it would bring; asks the hub.")] = False,
    as_json: _Json = False,
) -> None:
    """Add users as targets; with --root, the users they follow as well."""
    chosen = numbers_of(fids, "FIDS", 1, _MAX_FID)
    if most is not None and (not root or most < 1):
        raise ConfigError(f"--most {most} makes no sense", hint="it is for --root, and at least 1")
    settings = _settings()
    _refuse_named(chosen, settings.deny_fids, "FC_DENY_FIDS", "take them out again")
    limit = (most or settings.followed_per_root) if root else None
    opening = open_services_read_only if what_if else open_services
    with opening(settings, need_hub=what_if, need_redis=None) as opened:
        from fc_pipeline.backfill.what_if import what_if_added
        from fc_pipeline.replica import open_replica, open_replica_to_read
        from fc_pipeline.targets import coherence, owner

        if what_if:
            with open_replica_to_read(opened, may_be_empty=True) as replica:
                found = what_if_added(replica, chosen, follows=root, most_followed=limit)
            options = f"{' --root' if root else ''}{f' --most {most}' if most is not None else ''}"
            _print_what_if(asdict(found), f"fc-pipeline targets add {fids}{options}", as_json=as_json)
            return
        with open_replica(opened, may_be_empty=True) as replica:
            change = owner.add_root(replica.engine, chosen, follows=root, most_followed=limit)
            coherence.publish(replica.engine, opened.redis_url, change)
            _print_change(replica, change, as_json=as_json)


@targets.command("remove")
def remove(
    fids: _Fids,
    deny: Annotated[bool, typer.Option("--deny", help="Never targets again, whoever follows them.")] = False,
    as_json: _Json = False,
) -> None:
    """Undo `targets add`; with --deny, the users are never targets again."""
    chosen = numbers_of(fids, "FIDS", 1, _MAX_FID)
    settings = _settings()
    _refuse_named(chosen, settings.root_fids, "FC_ROOT_FIDS", "bring them back")
    with open_services(settings, need_hub=False, need_redis=None) as opened:
        from fc_pipeline.replica import open_replica
        from fc_pipeline.targets import coherence, directory, owner

        with open_replica(opened) as replica:
            change = owner.deny(replica.engine, chosen) if deny else owner.remove(replica.engine, chosen)
            coherence.publish(replica.engine, opened.redis_url, change)
            with replica.engine.connect() as connection:
                still = [one.fid for one in directory.all_targets(connection, chosen)]
                never = sorted(set(chosen) - set(still) - set(change.removed))
                reasons = [f"still in: {directory.why(connection, fid)[0]}" for fid in still[:_MAX_SHOWN]]
                reasons += [directory.why(connection, fid)[0] for fid in never[:_MAX_SHOWN]]
            _print_change(replica, change, as_json=as_json, still_in=still)
            for reason in () if as_json else reasons:
                Console(soft_wrap=True, highlight=False).print(reason, markup=False)


@targets.command("list")
def list_all(
    reason: Annotated[str | None, typer.Option(help="Only these: root, client or followed.")] = None,
    as_json: _Json = False,
) -> None:
    """List every target, with the reason why."""
    if reason not in (None, "root", "client", "followed"):
        raise ConfigError(f"--reason is {reason!r}", hint="expected: root, client or followed")
    with open_services_read_only(_settings(), need_redis=None) as opened:
        from fc_pipeline.replica import open_replica_to_read
        from fc_pipeline.targets import directory

        with open_replica_to_read(opened) as replica, replica.engine.connect() as connection:
            found = [one for one in directory.all_targets(connection) if reason in (None, one.reason)]
    if as_json:
        lines = [
            {
                **asdict(one),
                "since": one.since.isoformat(),
                "synced_at": one.synced_at.isoformat() if one.synced_at else None,
            }
            for one in found
        ]
        sys.stdout.write(json.dumps(lines) + "\n")
        return
    table = Table("FID", "name", "reason", "via", "since", "history", title=counted(len(found), "target"))
    for one in found:
        history = "complete" if one.synced_at else f"failing: {one.failure}" if one.failure else "to be fetched"
        via = str(one.via_fid) if one.via_fid is not None else ""
        since = one.since.strftime("%Y-%m-%d %H:%M")
        table.add_row(str(one.fid), escape(one.username or ""), one.reason, via, since, escape(history))
    Console().print(table)


@targets.command("why")
def why(fid: Annotated[int, typer.Argument(help="A user's FID.", min=1, max=_MAX_FID)], as_json: _Json = False) -> None:
    """Say why a user is a target, or is not; exit code 1 if not."""
    with open_services_read_only(_settings(), need_redis=None) as opened:
        from fc_pipeline.replica import open_replica_to_read
        from fc_pipeline.targets import directory

        with open_replica_to_read(opened) as replica, replica.engine.connect() as connection:
            sentences = directory.why(connection, fid)
            how_to_change = directory.how_to_change(connection, fid)
            found = directory.all_targets(connection, [fid])
    is_target = bool(found)
    if as_json:
        places = [{"reason": o.reason, "via_fid": o.via_fid, "since": o.since.isoformat()} for o in found]
        outcome = {"fid": fid, "is_target": is_target, **(places[0] if places else {}), "why": sentences}
        outcome["how_to_change"] = how_to_change
        sys.stdout.write(json.dumps(outcome) + "\n")
    else:
        console = Console(soft_wrap=True, highlight=False)
        for sentence in (*sentences, how_to_change):
            console.print(runnable(sentence), markup=False)
    if not is_target:
        raise typer.Exit(1)


def _print_change(replica: "Replica", change: "SetChange", *, as_json: bool, still_in: list[int] | None = None) -> None:
    from fc_pipeline.targets import directory

    with replica.engine.connect() as connection:
        known = directory.numbers(connection)
    if as_json:
        outcome = {
            "added": list(change.added),
            "removed": list(change.removed),
            "targets": known.targets,
            "unsynced": known.unsynced,
        }
        if still_in is not None:
            outcome["still_in"] = still_in
        sys.stdout.write(json.dumps(outcome) + "\n")
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{counted(len(change.added), 'target')} added, {len(change.removed):,} removed: "
        f"{counted(known.targets, 'target')} now"
    )
    if known.unsynced:
        console.print(
            f"{known.unsynced:,} wait for their history, which `up` fetches by itself and the next `sync` does; "
            "the users that new roots follow are known then"
        )
    if known.unsettled:
        console.print(f"what becomes of the rows of {counted(known.unsettled, 'former target')} is settled then, too")


def _print_what_if(found: dict[str, Any], command: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({**found, "command": command}) + "\n")
        return
    Console(soft_wrap=True, highlight=False).print(
        f"{counted(found['users'], 'user')} would come in ({found['already_targets']:,} more are targets already), "
        f"with about {counted(found['messages'], 'message')} and {counted(found['requests'], 'request')} to the hub "
        f"(from a sample of {counted(found['sampled_users'], 'user')})"
    )
    if found["unreadable_links"]:
        Console(soft_wrap=True, highlight=False).print(
            f"{counted(found['unreadable_links'], 'link')} of the hub cannot be read: who they would bring is unknown"
        )
    Console(soft_wrap=True, highlight=False).print(f"to do it: {runnable(command)}", markup=False)
