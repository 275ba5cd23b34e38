"""`fc-pipeline status`: the state of the replica."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from fc_pipeline.config.settings import Settings
from fc_pipeline.plain_text import plain
from fc_pipeline.printed_commands import runnable
from fc_pipeline.services import open_services_read_only, with_running

if TYPE_CHECKING:
    from fc_pipeline.status.status import ReplicaStatus, TargetStatus

__all__ = ["EXIT_CODES", "status"]

EXIT_CODES: Final[Mapping[str, int]] = {
    "complete": 0,
    "no_hub": 0,
    "hub_unreachable": 3,
    "behind": 4,
    "holes": 5,
}
"""Exit codes for monitoring; 1 and 2 are errors of the command itself, as for every command."""

MAX_HOLES_SHOWN = 3
MAX_GAPS_SHOWN = 20
MAX_SHOWN_IN_SECONDS = 120.0


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Show per shard the hub's head, the cursor, lag and holes; gaps; rows per table; quarantine; Redis.

    Exit code 0: complete and level with the hub; 3: no hub answers; 4: behind the hub; 5: blocks are missing or a gap
    is open. If several apply, the highest. 1 and 2: the status could not be read; stderr says why.
    """
    from fc_pipeline.replica import open_replica_to_read  # other commands need none of this
    from fc_pipeline.status.status import read_status

    configured = Settings.load()
    with open_services_read_only(configured) as settings:
        # A server that is not running is reported, not started: a status must not change the state.
        settings = with_running(settings)
        with open_replica_to_read(settings) as replica:
            found = read_status(replica)
        redis_state = _redis_state(settings.redis_url)
    if as_json:
        figures = {**asdict(found), "is_complete": found.is_complete, "state": found.state, "redis": redis_state}
        sys.stdout.write(json.dumps(figures, default=str) + "\n")
    else:
        _show(Console(), found, redis_state)
    if found.state != "complete":
        raise typer.Exit(EXIT_CODES[found.state])


def _redis_state(url: str | None) -> str:
    """Whether Redis answers."""
    import redis

    if url is None:
        return "does not run"
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2) as client:
            client.ping()
    except redis.RedisError as error:
        return f"unreachable: {type(error).__name__}"
    return "ok"


def _show(console: Console, found: "ReplicaStatus", redis_state: str) -> None:
    console.print(_shards(found))
    if found.gaps:
        console.print(_gaps(found))
    console.print(_tables(found))
    quarantine = ", ".join(f"{count} {reason}" for reason, count in sorted(found.quarantine.items()))
    console.print(f"quarantine: {plain(quarantine, one_line=True) or 'no open records'}", markup=False)
    console.print(f"redis: {redis_state}")
    if found.targets is not None:
        console.print(_targets(found.targets), highlight=False, soft_wrap=True)
    if found.clock_warning:
        console.print(f"clock: {found.clock_warning}", style="red", markup=False)
    if found.hub_error:
        console.print(f"hub: {plain(found.hub_error, one_line=True)}", style="red", markup=False)
    elif not found.shards:
        console.print(runnable("nothing was read yet: run `fc-pipeline sync` or `fc-pipeline up`"))
    else:
        console.print(runnable(_verdict(found)), soft_wrap=True)


def _targets(found: "TargetStatus") -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.by_reason.items())
    line = f"targets: {found.targets:,} ({reasons or 'none'})"
    if found.unsynced:
        line += f"; {found.unsynced:,} wait for their history" + (
            f", {found.failing:,} in vain" if found.failing else ""
        )
    if found.redis == "drift":
        return f"{line}; Redis lacks {found.redis_missing:,} and has {found.redis_extra:,} too many"
    return f"{line}; Redis: {found.redis}"


def _verdict(found: "ReplicaStatus") -> str:
    if found.is_complete:
        known = sum(shard.blocks_by_snapshots for shard in found.shards)
        by_snapshots = f" ({known:,} blocks are known by snapshots only)" if known else ""
        return f"complete: no holes, and level with the hub{by_snapshots}"
    if found.open_gaps:
        return "not complete: see gaps; `up` heals them, and so does `fc-pipeline backfill --gaps`"
    if any(shard.holes for shard in found.shards):
        return "not complete: see missing blocks; `fc-pipeline sync` or `up` fetch what can still be had"
    if all(shard.cursor_height is None for shard in found.shards):
        return "nothing was folded yet: `fc-pipeline sync` or `up` begin"
    return "no holes, but behind the hub: `fc-pipeline sync` or `up` catch up"


def _shards(found: "ReplicaStatus") -> Table:
    table = Table("shard", "hub head", "cursor", "behind", "lag", "missing blocks", "holes", title="Shards")
    for shard in found.shards:
        none = "nothing yet" if shard.cursor_height is None else "none"
        holes = ", ".join(f"{first}-{last}" for first, last in shard.holes[:MAX_HOLES_SHOWN]) or none
        if len(shard.holes) > MAX_HOLES_SHOWN:
            holes += f" and {len(shard.holes) - MAX_HOLES_SHOWN} more"
        table.add_row(
            str(shard.shard),
            _or_dash(shard.head_height),
            _or_dash(shard.cursor_height),
            _or_dash(shard.blocks_behind),
            "-" if shard.lag_seconds is None else _age(shard.lag_seconds),
            "-" if shard.cursor_height is None else f"{shard.missing_blocks:,}",
            holes,
        )
    return table


def _gaps(found: "ReplicaStatus") -> Table:
    """Open gaps first, then the newest."""
    table = Table("shard", "heights", "reason", "found", "healed", title="Gaps")
    shown = sorted(found.gaps, key=lambda gap: (gap.healed_at is not None, -gap.found_at.timestamp()))
    for gap in shown[:MAX_GAPS_SHOWN]:
        healed = "open" if gap.healed_at is None else f"{_minute(gap.healed_at)} from {gap.healed_how}"
        heights = f"{gap.from_height}-{gap.to_height}"
        table.add_row(str(gap.shard), heights, gap.reason, _minute(gap.found_at), healed)
    if len(shown) > MAX_GAPS_SHOWN:
        table.caption = f"and {len(shown) - MAX_GAPS_SHOWN} more in pipeline.gaps"
    return table


def _tables(found: "ReplicaStatus") -> Table:
    table = Table("table", "live rows", "deleted rows", title="Tables")
    for row in found.tables:
        about = "about " if row.estimated else ""
        table.add_row(row.table, f"{about}{row.live_rows:,}", "" if row.estimated else f"{row.deleted_rows:,}")
    return table


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _age(seconds: float) -> str:
    """Seconds up to two minutes, then a coarser unit; the lag of an old recorded log is days."""
    return f"{seconds:.1f} s" if seconds < MAX_SHOWN_IN_SECONDS else str(timedelta(seconds=int(seconds)))


def _or_dash(value: Any) -> str:
    return "-" if value is None else str(value)
