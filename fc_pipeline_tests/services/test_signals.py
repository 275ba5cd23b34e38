"""Processes that tests start can be asked to end, wherever the suite itself was started."""

import signal
import subprocess
import sys

from dagster._utils.interrupts import capture_interrupts

from fc_pipeline_tests.support.signals import do_not_ignore_interrupts, restored_signals


def ends_when_asked() -> bool:
    """Whether a process of ours can be ended by SIGTERM."""
    code = "import signal, sys; sys.exit(signal.getsignal(signal.SIGTERM) == signal.SIG_IGN)"
    return subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_a_shells_background_ignores_is_not_handed_on() -> None:
    with restored_signals():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with capture_interrupts():
            pass  # as around every run of Dagster in this process
        assert not ends_when_asked()
        do_not_ignore_interrupts()
        with capture_interrupts():
            pass
        assert ends_when_asked()


def test_handlers_of_one_test_are_not_those_of_the_next() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with restored_signals():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before != signal.SIG_IGN
