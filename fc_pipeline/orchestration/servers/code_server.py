"""Dagster's code server, as `dagster code-server start`, which ends its runs when it ends.

Dagster's own waits for them, however long they take: a run that follows the feed would block every redeploy. On SIGUSR1
it reloads the definitions; started runs continue.

In a container no `up` looks after it. There it says itself that the launcher of its runs lives, under the name in
FC_PIPELINE_INSTANCE, which the daemon's container has too; and runs of that name that are there when it starts have
died with the server before it.
"""

import os
import signal
import sys
import threading
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any, Final

import psutil

from fc_pipeline.config.log_format import log_format
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.logs import configure_logging
from fc_pipeline.orchestration.instance.instances import INSTANCE_VARIABLE, present
from fc_pipeline.orchestration.servers.reloading import RELOAD_SIGNAL
from fc_pipeline.services import open_services_for_process
from fc_pipeline.services.children import MARK
from fc_pipeline.services.processes import GONE

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

    with ExitStack() as stack:
        name = os.environ.get(INSTANCE_VARIABLE)
        if name and MARK not in os.environ:
            _succeed(name, stack)
        sys.argv[1:1] = ["code-server", "start"]
        dagster()


def _succeed(name: str, stack: ExitStack) -> None:
    """Be the one that launches runs under a name, until the stack is closed; its predecessor's runs have failed.

    Raises ServiceError where a server of that name lives, or Postgres does not answer.
    """
    from dagster import DagsterInstance

    from fc_pipeline.orchestration.instance.ending_runs import fail_runs_of

    settings = open_services_for_process(Settings.load(), need_hub=False, need_redis=False)
    with DagsterInstance.get() as instance:  # makes Dagster's database, where the locks are
        if not stack.enter_context(present(settings, name)):
            raise ServiceError(
                f"a code server with the name {name!r} is at work",
                hint=f"stop it, or give this one and its daemon a {INSTANCE_VARIABLE} of their own",
            )
        fail_runs_of(instance, name)


def _end(number: int, frame: FrameType | None) -> None:
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)  # once is enough
    threading.Thread(target=_end_runs, name="end-runs").start()
    raise KeyboardInterrupt  # then Dagster launches no more runs here, and waits for these to end


def _end_runs() -> None:
    from fc_pipeline.orchestration.instance.ending_runs import announce_end, is_run_worker

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
        client = DagsterGrpcClient(**_address())
        client.reload_code(RELOAD_SECONDS)
    finally:
        _reloading.release()


def _address() -> dict[str, Any]:
    """The socket or port among its arguments."""
    if "-s" in sys.argv:
        return {"socket": sys.argv[sys.argv.index("-s") + 1]}
    return {"port": int(sys.argv[sys.argv.index("-p") + 1]), "host": "127.0.0.1"}


if __name__ == "__main__":
    main()
