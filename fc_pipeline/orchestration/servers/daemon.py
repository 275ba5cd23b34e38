"""Dagster's daemon, as `dagster-daemon run`, of the leading `up`: it waits until no other daemon runs.

Dagster supports one daemon per storage: two would tick every sensor twice. An `up` that cannot follow its hub does not
lead.
"""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Final

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import FcPipelineError
from fc_pipeline.logs import formatter_of
from fc_pipeline.orchestration.instance.instances import INSTANCE_VARIABLE, leader_lock, new_instance
from fc_pipeline.services import open_services_for_process
from fc_pipeline.services.candidacy import leadership_error
from fc_pipeline.store.session_lock import POLL_SECONDS, UNREACHABLE, SessionLock

__all__ = ["main"]

_log = logging.getLogger(__name__)

REACQUIRE_SECONDS: Final = 10.0
"""How long the leader may take to reacquire its lock after its session was lost."""
CANDIDACY_POLL_SECONDS: Final = 15.0
"""How often an `up` that cannot lead checks its hub again."""
END_SECONDS: Final = 20.0
DEAD_EVERY_SECONDS: Final = 30.0
"""How often the leader looks for runs whose launcher is dead."""


def main() -> None:
    """Stand by, then run the daemon with the arguments of `dagster-daemon run`."""
    settings = Settings.load()
    handler = logging.StreamHandler()
    handler.setFormatter(formatter_of(settings.log_format))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    settings = open_services_for_process(settings, need_hub=False, need_redis=False)
    instance = os.environ.setdefault(INSTANCE_VARIABLE, new_instance(settings.data_dir))
    lock = leader_lock(settings, instance)
    _lead(lock, settings)
    threading.Thread(target=_keep, args=(lock,), name="keep-lead", daemon=True).start()
    threading.Thread(target=_end_runs_of_the_dead, args=(settings,), name="end-runs-of-the-dead", daemon=True).start()
    from dagster._daemon.cli import run_command

    sys.argv[0] = "dagster-daemon"
    run_command()


def _lead(lock: SessionLock, settings: Settings) -> None:
    """Return when this daemon leads: no other one does, and its hub belongs to the replica's network."""
    reported = ""
    unfit: FcPipelineError | None = None
    while True:
        pause_seconds = POLL_SECONDS
        with suppress(*UNREACHABLE):  # asked again
            why = ""
            if lock.is_taken():
                why = "the daemon of another `up` on this Postgres is at work"
            elif (unfit := leadership_error(settings, unfit)) is not None:  # asked before it is taken
                why = f"nobody leads, and this one cannot: {unfit}"
                pause_seconds = CANDIDACY_POLL_SECONDS
            elif lock.try_take():
                return
            if why and why != reported:
                _log.info("standing_by: %s", why)
                reported = why
        time.sleep(pause_seconds)


def _keep(lock: SessionLock) -> None:
    """Reacquire the lock if its session is lost; end this process if another one has it, or Postgres is down.

    `up` starts it again, and it stands by.
    """
    lost_at: float | None = None
    while True:
        time.sleep(POLL_SECONDS)
        if lock.is_held():
            lost_at = None
            continue
        lost_at = lost_at or time.monotonic()
        with suppress(*UNREACHABLE):
            if lock.try_take():
                continue
            _log.warning("lead_lost: another `up` leads now; this daemon ends, to stand by")
            _end()
        if time.monotonic() - lost_at > REACQUIRE_SECONDS:
            _log.warning("lead_lost: Postgres does not answer; this daemon ends, to stand by")
            _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)


def _end_runs_of_the_dead(settings: Settings) -> None:
    from dagster import DagsterInstance

    from fc_pipeline.orchestration.instance.ending_runs import fail_runs_of_the_dead

    suspects: set[str] = set()
    with DagsterInstance.get() as instance:
        while True:
            time.sleep(DEAD_EVERY_SECONDS)
            try:
                suspects = fail_runs_of_the_dead(instance, settings, suspects)
            except Exception:  # the next check is due anyway; the daemon must not end for this
                _log.exception("dead_runs_not_looked_for: it is tried again")


if __name__ == "__main__":
    main()
