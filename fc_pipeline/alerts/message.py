"""The words of a message: one turn in full, or a digest of several."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fc_pipeline.alerts.turns import Turn
from fc_pipeline.plain_text import one_line

__all__ = ["MAX_TURNS", "Message", "compose"]

MAX_TURNS: Final = 15
"""So many turns are written out in a digest; the others are named."""
_ORDER: Final = ("red", "yellow", "over")


@dataclass(frozen=True)
class Message:
    """Plain text with a title; `kind` is red, yellow or over, by the worst in it."""

    title: str
    body: str
    kind: str


def compose(turns: Sequence[Turn], place: str) -> Message:
    """One message that tells of all these turns, the worst first; `place` says which replica it is of."""
    ordered = sorted(turns, key=lambda turn: (_ORDER.index(_kind(turn)), turn.at_unix))
    kinds = Counter(_kind(turn) for turn in ordered)
    if len(ordered) == 1:
        title = f"{_kind(ordered[0])}: {ordered[0].condition.title}"
    else:
        title = ", ".join(f"{kinds[kind]} {kind}" for kind in _ORDER if kinds[kind])
    parts = [_written(turn) for turn in ordered[:MAX_TURNS]]
    if others := ordered[MAX_TURNS:]:
        named = "\n".join(f"{_kind(turn).upper()}: {one_line(turn.condition.title)}" for turn in others)
        parts.append(f"{named}\nSee the Dagster UI and `fc-pipeline status`")
    return Message(f"fc_pipeline {one_line(title)}", "\n\n".join([*parts, place]), _kind(ordered[0]))


def _kind(turn: Turn) -> str:
    return "over" if turn.is_over else turn.condition.severity.value


def _written(turn: Turn) -> str:
    condition = turn.condition
    if turn.is_over:
        lasted = _duration(turn.at_unix - turn.since_unix)
        return f"OVER: {one_line(condition.title)}\nafter {lasted}, since {_moment(turn.since_unix)}"
    lines = [f"{condition.severity.upper()}: {one_line(condition.title)}"]
    if condition.detail:
        lines.append(one_line(condition.detail))
    if condition.remedy and condition.remedy not in condition.detail:
        lines.append(f"To do: {one_line(condition.remedy)}")
    if condition.runbook:
        lines.append(f"Runbook: {condition.runbook}")
    if condition.link:
        lines.append(f"Look: {condition.link}")
    # A red that began as yellow has stood for longer than it has been told.
    if turn.at_unix - turn.since_unix >= 1:
        lines.append(f"Since {_moment(turn.since_unix)}")
    return "\n".join(lines)


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400.0), ("hours", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"
