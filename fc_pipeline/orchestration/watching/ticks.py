"""Conditions of what ticks: Dagster's daemon that does not beat, sensors and schedules that are silent or fail."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dagster import (
    DagsterInstance,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    ScheduleDefinition,
    SensorDefinition,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, SensorInstigatorData, TickStatus
from dagster._utils.schedules import cron_string_iterator

from fc_pipeline.alerts.condition import Condition, Reading, Severity
from fc_pipeline.orchestration.names import Names

__all__ = ["TICK_AREAS", "read_ticks"]

TICK_AREAS: Final = frozenset({"daemon", "silent", "tick"})

_BEAT_SECONDS: Final = 120.0
"""It beats every 30 s."""
_SILENT_INTERVALS: Final = 4
_LEAST_SILENT_SECONDS: Final = 120.0
"""A tick may take a minute."""
_DEFAULT_INTERVAL_SECONDS: Final = 30.0
_LATE_SECONDS: Final = 300.0
_REMOVED_SECONDS: Final = 86_400.0
_FAILURES_OF_SENSOR: Final = 3
"""One failed tick is followed by the next a moment later; so many in turn are news."""
_RUNBOOK: Final = "docs/checks.md#red-runs-sensors-and-commands"
_ENDED: Final = (TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE)


@dataclass(frozen=True)
class _Ticker:
    """A sensor or schedule by a copy's name for it: its stored state, if it has ever ticked, and its newest ticks."""

    name: str
    definition: SensorDefinition | ScheduleDefinition
    state: InstigatorState | None
    ticks: Sequence[InstigatorTick]

    @property
    def kind(self) -> str:
        return "sensor" if isinstance(self.definition, SensorDefinition) else "schedule"

    @property
    def last_unix(self) -> float:
        """When it last began to tick; 0 if it never did."""
        data = self.state.instigator_data if self.state is not None else None
        begun = data.last_tick_start_timestamp if isinstance(data, SensorInstigatorData) else None
        return max([begun or 0.0, *(tick.timestamp for tick in self.ticks)])


def read_ticks(
    instance: DagsterInstance,
    definitions: Sequence[SensorDefinition | ScheduleDefinition],
    copies: Iterable[Names],
    ui_url: str,
    now_unix: float,
    watched_since_unix: float,
) -> Reading:
    """What ticks and does not. Silence counts from the beginning of the watch: before it, all may have been off."""
    late = _late_daemons(instance, now_unix, watched_since_unix)
    if late:
        condition = Condition(
            "daemon:silent",
            Severity.RED,
            "Dagster's daemon does not beat",
            detail=f"for two minutes: {', '.join(late)}. No sensor and no schedule ticks, no run is launched",
            remedy="see data/logs/daemon.log; `up` starts a daemon again that has ended: restart `up` if it hangs",
            runbook=_RUNBOOK,
            link=f"{ui_url}/deployment/daemons" if ui_url else "",
        )
        return Reading((condition,), unread=TICK_AREAS - {"daemon"})
    conditions: list[Condition] = []
    states = list(instance.all_instigator_state())
    found = (ticker for names in copies for ticker in _tickers_on(instance, states, definitions, names, now_unix))
    for ticker in found:
        silence = _silence(ticker, now_unix, watched_since_unix)
        if silence:
            conditions.append(_condition("silent", ticker, "does not tick", silence, ui_url))
        if _fails(ticker):
            conditions.append(_condition("tick", ticker, "fails", _error(ticker.ticks[0]), ui_url))
    return Reading(tuple(conditions))


def _late_daemons(instance: DagsterInstance, now_unix: float, watched_since_unix: float) -> list[str]:
    beats = instance.get_daemon_heartbeats()
    return sorted(
        kind.lower()
        for kind in instance.get_required_daemon_types()
        if now_unix - max(beats[kind].timestamp if kind in beats else 0.0, watched_since_unix) > _BEAT_SECONDS
    )


def _tickers_on(
    instance: DagsterInstance,
    states: Sequence[InstigatorState],
    definitions: Sequence[SensorDefinition | ScheduleDefinition],
    names: Names,
    now_unix: float,
) -> Iterator[_Ticker]:
    tickers = [_newest_ticker(instance, states, definition, names.of(definition.name)) for definition in definitions]
    # A copy that was taken out of somebody's definitions leaves its states behind.
    if names.are_prefixed and now_unix - max(ticker.last_unix for ticker in tickers) > _REMOVED_SECONDS:
        return
    for ticker in tickers:
        if ticker.state.is_running if ticker.state is not None else _is_on_by_default(ticker.definition):
            yield ticker


def _newest_ticker(
    instance: DagsterInstance,
    states: Iterable[InstigatorState],
    definition: SensorDefinition | ScheduleDefinition,
    name: str,
) -> _Ticker:
    """A location that had another name has left states of its own: the one that ticked last is ours."""
    tickers = [
        _Ticker(name, definition, state, _newest_ticks(instance, state))
        for state in states
        if state.instigator_name == name
    ]
    return max(tickers, key=lambda ticker: ticker.last_unix, default=_Ticker(name, definition, None, ()))


def _newest_ticks(instance: DagsterInstance, state: InstigatorState) -> Sequence[InstigatorTick]:
    return instance.get_ticks(
        state.instigator_origin_id, state.selector_id, limit=_FAILURES_OF_SENSOR, statuses=list(_ENDED)
    )


def _is_on_by_default(definition: SensorDefinition | ScheduleDefinition) -> bool:
    return definition.default_status in (DefaultSensorStatus.RUNNING, DefaultScheduleStatus.RUNNING)


def _silence(ticker: _Ticker, now_unix: float, watched_since_unix: float) -> str:
    """How it is silent; empty where it is not."""
    since = max(ticker.last_unix, watched_since_unix)
    definition = ticker.definition
    if isinstance(definition, SensorDefinition):
        interval = definition.minimum_interval_seconds or _DEFAULT_INTERVAL_SECONDS
        allowed = max(_SILENT_INTERVALS * interval, _LEAST_SILENT_SECONDS)
        return f"for {now_unix - since:.0f} s, where it should every {interval:.0f} s" * (now_unix - since > allowed)
    cron = definition.cron_schedule if isinstance(definition.cron_schedule, str) else definition.cron_schedule[0]
    due = next(cron_string_iterator(since + 1, cron, definition.execution_timezone or "UTC"))
    late_seconds = now_unix - due.timestamp()
    return f"its tick of {due:%Y-%m-%d %H:%M} UTC is late" * (late_seconds > _LATE_SECONDS)


def _fails(ticker: _Ticker) -> bool:
    failures = [tick.status is TickStatus.FAILURE for tick in ticker.ticks]
    if ticker.kind == "schedule":
        return failures[:1] == [True]
    return len(failures) == _FAILURES_OF_SENSOR and all(failures)


def _error(tick: InstigatorTick) -> str:
    """What it failed with: the innermost says cause and remedy."""
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message if error is not None else ""


def _condition(area: str, ticker: _Ticker, what: str, detail: str, ui_url: str) -> Condition:
    name = ticker.name
    return Condition(
        f"{area}:{name}",
        Severity.RED,
        f"the {ticker.kind} {name} {what}",
        detail=detail,
        remedy="see its newest tick in the UI",
        runbook=_RUNBOOK,
        link=f"{ui_url}/locations/fc_pipeline/{ticker.kind}s/{name}" if ui_url else "",
    )
