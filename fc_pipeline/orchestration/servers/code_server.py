"""Dagster's code server, as `dagster code-server start`, which ends its runs when it ends.

Dagster's own waits for them, however long they take: a run that follows the feed would block every redeploy. On SIGUSR1
it reloads the definitions; started runs continue.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Final

import psutil

from fc_pipeline.config.log_format import log_format
from fc_pipeline.logs import configure_logging
from fc_pipeline.orchestration.servers.reloading import RELOAD_SIGNAL

__all__ = ["SOCKET_NAME", "main"]

RELOAD_SECONDS: Final = 180
_reloading = threading.Lock()

SOCKET_NAME: Final = "code_server.sock"
"""The file name of the socket that `up` has it listen on; runs are known by it."""


def main() -> None:
    """Serve with the arguments of `dagster code-server start`; on SIGINT or SIGTERM stop the runs, then end."""
    configure_logging(log_format())
    # Dagster gives SIGTERM the handler of SIGINT, whichever that is.
    signal.signal(signal.SIGINT, _end)
    signal.signal(RELOAD_SIGNAL, _reload)
    from dagster._cli import main as dagster

    sys.argv[1:1] = ["code-server", "start"]
    dagster()


def _end(number: int, frame: FrameType | None) -> None:
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)  # once is enough
    threading.Thread(target=_end_runs, name="end-runs").start()
    raise KeyboardInterrupt  # then Dagster launches no more runs here, and waits for these to end


def _end_runs() -> None:
    from fc_pipeline.orchestration.instance.ending_runs import announce_end, is_run_worker
    from fc_pipeline.orchestration.instance.instances import INSTANCE_VARIABLE
    from fc_pipeline.services.processes import GONE

    try:
        # Its socket or port is among its arguments.
        announce_end(launched_by=os.environ.get(INSTANCE_VARIABLE), address=sys.argv)
    finally:
        for process in psutil.Process().children(recursive=True):
            with suppress(*GONE):
                if is_run_worker(process):
                    process.terminate()


def _reload(number: int, frame: FrameType | None) -> None:
    if _reloading.acquire(blocking=False):
        threading.Thread(target=_reload_code, name="reload", daemon=True).start()


def _reload_code() -> None:
    from dagster._grpc.client import DagsterGrpcClient

    try:
        socket = sys.argv[sys.argv.index("-s") + 1]
        DagsterGrpcClient(socket=socket).reload_code(RELOAD_SECONDS)
    finally:
        _reloading.release()


if __name__ == "__main__":
    main()
