"""Starts runs of the real code, each in a process of its own, to be killed; and the process that does it.

`python -m fc_pipeline_tests.faults.crash_runner` imports everything once; then each line of its stdin is a run, forked.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from fc_pipeline.backfill import fetch
from fc_pipeline.backfill import run as backfill
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.config.settings import Settings
from fc_pipeline.feed import lanes
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.progress import HourProgress
from fc_pipeline.feed.run import MicroBatchRun
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline_tests.faults import crash_points
from fc_pipeline_tests.faults.crash_points import Trap, set_trap
from fc_pipeline_tests.support.workbench import OUTPUTS, Workbench

FIDS_PER_CHUNK = 8


class Runner:
    """Starts runs over a bench's replica one after the other and says how they ended."""

    def __init__(self, bench: Workbench, hours: tuple[Hour, Hour], log_file: Path | None = None) -> None:
        self._given = {
            "settings": bench.replica.settings.model_dump(mode="json", exclude={"hub_headers"}),
            "hours": [hour.key for hour in hours],
        }
        self._log = log_file.open("ab") if log_file else None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fc_pipeline_tests.faults.crash_runner"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        self._running: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._running is not None:
            os.kill(self._running, signal.SIGKILL)
        self._process.communicate(timeout=60)
        if self._log is not None:
            self._log.close()

    def start(self, run_id: str, kind: str = "micro_batch", **given: Any) -> int:
        """The process id of a new run. `point`, `nth` and `signal` set a trap; `settings` replaces some."""
        assert self._process.stdin is not None
        settings = {**self._given["settings"], **given.pop("settings", {})}  # pyright: ignore[reportGeneralTypeIssues]
        line = {**self._given, **given, "settings": settings, "run_id": run_id, "kind": kind}
        self._process.stdin.write(json.dumps(line) + "\n")
        self._running = self._number()
        return self._running

    def wait(self) -> int:
        """The exit code of the run, or the negative signal that ended it."""
        code = self._number()
        self._running = None
        return code

    def run(self, run_id: str, kind: str = "micro_batch", **given: Any) -> int:
        self.start(run_id, kind, **given)
        return self.wait()

    def _number(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the runner has ended"
        return int(line)


def _execute(given: dict[str, Any]) -> None:
    if given.get("point"):
        set_trap(given["point"], Trap(given["nth"], given["signal"]))
    with interruptible() as interruption, open_replica(Settings(**given["settings"])) as replica:
        if given["kind"] == "backfill":
            fetch.CHUNK_FIDS = backfill.CHUNK_FIDS = FIDS_PER_CHUNK  # pyright: ignore
            Backfill(replica, given["run_id"], BackfillScope(), should_stop=interruption.is_requested).execute()
        else:
            lanes.MANY_EVENTS = 1  # in two sessions beside each other, as a backlog
            _micro_batches(replica, given, interruption.is_requested)


def _micro_batches(replica: Replica, given: dict[str, Any], should_stop: Any) -> None:
    window = HourWindow(*(Hour.from_key(key) for key in given["hours"]))

    def report(hours: list[HourProgress]) -> None:
        crash_points.report(replica, hours)

    run = MicroBatchRun(
        replica,
        given["run_id"],
        window,
        given.get("outputs", OUTPUTS),
        follow_seconds=given.get("follow_seconds", 0.0),
        report=report,
        report_seconds=0.05,
        should_stop=should_stop,
    )
    run.execute()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                _execute(json.loads(line))
                code = 0
            except BaseException:
                logging.exception("the run failed")
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
