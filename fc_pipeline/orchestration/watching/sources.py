"""All that the watcher looks at: Postgres, hubs and processes, and with Dagster's eyes checks, runs and ticks."""

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from dagster import DagsterInstance, Definitions, ScheduleDefinition, SensorDefinition

from fc_pipeline.alerts import processes, reach
from fc_pipeline.alerts.condition import Reading
from fc_pipeline.alerts.watch import Source
from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.watching.checks import CHECK_AREAS, FRESHNESS_AREAS, read_checks, read_freshness
from fc_pipeline.orchestration.watching.copies import copies_in
from fc_pipeline.orchestration.watching.runs import RUN_AREAS, read_runs
from fc_pipeline.orchestration.watching.ticks import TICK_AREAS, read_ticks
from fc_pipeline.services.up_state import read_up_state

__all__ = ["Watched"]


class Watched:
    """The sources of one watch, which begins now; Dagster's storage is opened when Postgres answers, and kept."""

    def __init__(
        self, root: Path, settings: Settings, definitions: Definitions, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._root = root
        self._settings = settings
        self._clock = clock
        self._since_unix = clock()
        self._tickers = [
            one
            for one in [*(definitions.sensors or ()), *(definitions.schedules or ())]
            if isinstance(one, SensorDefinition | ScheduleDefinition)
        ]
        self._jobs = [one.name for one in definitions.jobs or ()]

    def sources(self) -> list[Source]:
        """In the order in which they are looked at."""
        settings = self._settings
        return [
            Source("processes", processes.AREAS, lambda: processes.read_processes(settings.data_dir)),
            Source("Postgres", reach.POSTGRES_AREAS, lambda: reach.read_postgres(settings), is_gate=True),
            Source("hubs", reach.HUB_AREAS, lambda: reach.read_hubs(settings)),
            Source("checks", CHECK_AREAS, self._read_checks, needs_postgres=True),
            Source("runs", RUN_AREAS, self._read_runs, needs_postgres=True),
            Source("sensors and schedules", TICK_AREAS, self._read_ticks, needs_postgres=True),
            Source(
                "freshness",
                FRESHNESS_AREAS,
                lambda: read_freshness(settings, self._ui_url, self._clock() - self._since_unix),
                needs_postgres=True,
            ),
        ]

    def _read_checks(self) -> Reading:
        return read_checks(self._instance, copies_in(self._instance), self._ui_url)

    def _read_runs(self) -> Reading:
        return read_runs(self._instance, copies_in(self._instance), self._jobs, self._ui_url)

    def _read_ticks(self) -> Reading:
        copies = copies_in(self._instance)
        return read_ticks(self._instance, self._tickers, copies, self._ui_url, self._clock(), self._since_unix)

    @cached_property
    def _instance(self) -> DagsterInstance:
        return DagsterInstance.from_config(str(self._root))

    @property
    def _ui_url(self) -> str:
        state = read_up_state(self._settings.data_dir)
        return "" if state is None else state.ui
