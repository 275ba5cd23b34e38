"""Reports which `up` leads if several share a Postgres: at first, and whenever that changes."""

import sys
import time
from typing import Final

from rich.console import Console

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError, FcPipelineError
from fc_pipeline.orchestration.instance import instances
from fc_pipeline.orchestration.servers.dagster import DagsterProcesses
from fc_pipeline.plain_text import plain
from fc_pipeline.store.session_lock import UNREACHABLE

__all__ = ["Lead", "refuse_to_lead_alone"]

POLL_SECONDS: Final = 5.0


def refuse_to_lead_alone(settings: Settings) -> None:
    """Raise ConfigError if this `up` cannot follow its hub and there is no other one whose work it could show.

    Every URL in the settings must be filled in.
    """
    unfit = _unfit(settings)
    if unfit is None:
        return
    try:
        leader = instances.leader(settings)
    except UNREACHABLE:  # Dagster's database is created later
        leader = None
    if leader is None:
        raise ConfigError(unfit.message, hint=unfit.hint)


def _unfit(settings: Settings, known: FcPipelineError | None = None) -> FcPipelineError | None:
    from fc_pipeline.services.candidacy import leadership_error  # takes a second, which other commands save

    return leadership_error(settings, known)


class Lead:
    """Polls who leads, and reports changes."""

    def __init__(self, console: Console, dagster: DagsterProcesses) -> None:
        self._console = console
        self._dagster = dagster
        self._seen: str | None = dagster.name
        self._announced: str | None = dagster.name
        self._next_look = 0.0
        self._unfit: FcPipelineError | None = None

    def announce(self) -> None:
        """Poll, if it is due. A leader seen twice is reported: after a crash of Postgres it takes seconds to settle."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + POLL_SECONDS
        try:
            leader = self._dagster.leader()
            has_settled, self._seen = leader == self._seen, leader
            sentence = self._change(leader) if has_settled and leader != self._announced else None
        except UNREACHABLE:  # its restart is handled elsewhere
            return
        if sentence is not None:
            self._announced = leader
            self._console.print(plain(sentence, one_line=True), highlight=False, markup=False, soft_wrap=True)
            sys.stdout.flush()

    def _change(self, leader: str | None) -> str | None:
        """The message on the present leader, given the one reported last; None if there is nothing to report yet."""
        own, before = self._dagster.name, self._announced
        if leader == own:
            return f"this one does the work now{self._predecessor_state(before)}"
        unfit = self._unfit = _unfit(self._dagster.settings, self._unfit)
        if leader is None:
            # An `up` that can lead will do so soon.
            return f"nobody does the work now{self._predecessor_state(before)}; {_cannot(unfit)}" if unfit else None
        will = _cannot(unfit) if unfit else "it takes over at its end"
        return f"another `up` on this Postgres does the work ({_place(leader)}): this one shows it; {will}"

    def _predecessor_state(self, before: str | None) -> str:
        """What is known of the previous leader: it may be alive without leading, as after a crash of Postgres."""
        if not before or before == self._dagster.name:
            return ""
        if before in self._dagster.living():
            outcome = "lives, but has lost the lead: its session to Postgres was cut, or it is just ending"
        else:
            outcome = "has ended, or does not reach Postgres any more"
        return f": the other `up` ({_place(before)}) {outcome}"


def _cannot(unfit: FcPipelineError) -> str:
    return f"it cannot take over: {unfit}"


def _place(name: str) -> str:
    return name.removeprefix("fc_pipeline ") or "of another role"
