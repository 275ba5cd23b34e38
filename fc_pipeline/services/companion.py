"""A process beside Dagster's, such as the one that serves metrics: `up` revives it, and can do without it."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fc_pipeline.services.children import Child, start_child
from fc_pipeline.services.restarts import Restarts

__all__ = ["Companion"]

_log = logging.getLogger(__name__)

_ENVIRONMENT: Final = {"PYTHONUNBUFFERED": "1"}


@dataclass
class Companion:
    """A command of ours that runs as long as `up`, with its own log; nothing else depends on it."""

    name: str
    arguments: Sequence[str]
    data_dir: Path
    root: Path
    _child: Child | None = field(default=None, init=False)
    _restarts: Restarts = field(default_factory=Restarts, init=False)

    @property
    def pid(self) -> int | None:
        """Its process id; None before its start, and once it is left out."""
        return None if self._child is None else self._child.process.pid

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "fc_pipeline.cli", *self.arguments]
        self._child = start_child(self.name, command, data_dir=self.data_dir, cwd=self.root, environment=_ENVIRONMENT)

    def revive(self) -> None:
        """Start it again if it has ended, unless it ended too often: then it is left, with the end of its log."""
        if self._child is None or self._child.ended() is None:
            return
        ended, self._child = self._child, None
        if self._restarts.may(self.name):
            _log.warning("process_restarted name=%s exit_code=%s: it had ended", self.name, ended.ended())
            self.start()
        else:
            _log.error(
                "process_given_up name=%s log=%s: it ended too often\n%s",
                self.name,
                ended.log_file,
                ended.last_log_lines(),
            )
