"""The handlers of signals, which a test's process hands on to all that it starts."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

__all__ = ["do_not_ignore_interrupts", "restored_signals"]

_ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def do_not_ignore_interrupts() -> None:
    """Have SIGINT and SIGTERM work where who started this process ignores them, as a script's background does SIGINT.

    After each run in this process, Dagster leaves SIGTERM with the handler of SIGINT (dagster._utils.interrupts): this
    process, and each one that a test starts, would then ignore both.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def restored_signals() -> Generator[None]:
    """Put the handlers of signals that ask to end back afterwards."""
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _ASKED_TO_END}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
