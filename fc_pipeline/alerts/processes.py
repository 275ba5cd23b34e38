"""Is `up` there, and what it has started? By its file and the process table alone, so also where all else is dead."""

from pathlib import Path
from typing import Final

from fc_pipeline.alerts.condition import Condition, Reading, Severity
from fc_pipeline.printed_commands import runnable
from fc_pipeline.services.up_state import UpState, is_running, read_up_state

__all__ = ["AREAS", "UP_GONE", "read_processes"]

UP_GONE: Final = "up:gone"
AREAS: Final = frozenset({"up", "process", "restarts"})

_RUNBOOK: Final = "docs/checks.md#red-runs-sensors-and-commands"
_REVIVED_AFTER_SECONDS: Final = 15.0
"""`up` starts within a second what has ended: what is not there for longer is news."""
_DISPENSABLE: Final = frozenset({"alerts", "metrics"})
_NAMES: Final = {
    "alerts": "the watcher of alerts",
    "code_server": "Dagster's code server",
    "daemon": "Dagster's daemon",
    "metrics": "what serves metrics",
    "webserver": "Dagster's webserver",
    "postgres": "the embedded Postgres",
    "redis": "the embedded Redis",
    "sample_hub": "the sample hub",
}


def read_processes(data_dir: Path) -> Reading:
    """What is wrong with `up` and its children. Where no `up` was started, or it was stopped, nothing is known."""
    state = read_up_state(data_dir)
    if state is None:
        return Reading(unread=AREAS)
    if state.failure or not state.is_alive():
        return Reading((_gone(state),), unread=AREAS - {"up"})
    conditions: list[Condition] = []
    for name, pid in state.children.items():
        if not is_running(pid):
            conditions.append(_ended(data_dir, name, pid))
        elif state.restarts_unix.get(name):
            conditions.append(_restarted(data_dir, name, len(state.restarts_unix[name])))
    return Reading(tuple(conditions))


def _gone(state: UpState) -> Condition:
    left = [_NAMES.get(name, name) for name, pid in state.children.items() if name != "alerts" and is_running(pid)]
    without = (
        f"still there, but looked after by nobody: {', '.join(left)}" if left else "all it had started is gone, too"
    )
    reason = f"it ended: {state.failure}" if state.failure else f"its process {state.pid} was killed, or has crashed"
    return Condition(
        UP_GONE,
        Severity.RED,
        "`fc-pipeline up` is gone",
        detail=reason if state.failure else f"{reason}; {without}",
        remedy=runnable("start it again by `fc-pipeline up`: it takes over what is left, and goes on where it was"),
        runbook=_RUNBOOK,
    )


def _ended(data_dir: Path, name: str, pid: int) -> Condition:
    return Condition(
        f"process:{name}",
        Severity.RED,
        f"{_NAMES.get(name, name)} does not run",
        detail=f"its process {pid} has ended, and `up` has not started it again",
        remedy=f"see {data_dir / 'logs' / f'{name}.log'}",
        runbook=_RUNBOOK,
        after_seconds=_REVIVED_AFTER_SECONDS,
    )


def _restarted(data_dir: Path, name: str, times: int) -> Condition:
    ends = "it is left out" if name in _DISPENSABLE else "`up` ends"
    return Condition(
        f"restarts:{name}",
        Severity.YELLOW,
        f"{_NAMES.get(name, name)} ended, and was started again",
        detail=f"{times} time{'' if times == 1 else 's'} within ten minutes; at the fourth, {ends}",
        remedy=f"see {data_dir / 'logs' / f'{name}.log'}",
        runbook=_RUNBOOK,
    )
