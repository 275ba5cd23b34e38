"""Reloading the definitions from inside the code server that serves them."""

import os
import signal
from typing import Final

import psutil

__all__ = ["RELOAD_SIGNAL", "ask_for_reload"]

RELOAD_SIGNAL: Final = signal.SIGUSR1
CODE_SERVER_MODULE: Final = "fc_pipeline.orchestration.servers.code_server"

_asked = False


def ask_for_reload() -> bool:
    """Have our code server reload the definitions, at most once per process; returns whether it was asked.

    It then replaces this process by a new one, which the webserver and the daemon notice. False where another code
    server serves these definitions, such as `dagster dev`: a person reloads it in the UI.
    """
    global _asked
    if _asked:
        return True
    try:
        parent = psutil.Process(os.getppid())
        if CODE_SERVER_MODULE not in parent.cmdline():
            return False
        parent.send_signal(RELOAD_SIGNAL)
    except psutil.Error:  # it is just ending
        return False
    _asked = True
    return True
