"""How a run notices that it is to end: by a signal that interrupts nothing, or by the end of what started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from fc_pipeline.orchestration.interruption import interruptible

CODE_SERVER = """
import multiprocessing, sys, time

def run():
    from fc_pipeline.orchestration.interruption import interruptible
    with interruptible() as interruption:
        print("asked before:", interruption.is_requested(), flush=True)
        while not interruption.is_requested():
            time.sleep(0.02)
        print("asked because", interruption.reason, flush=True)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=run).start()
    time.sleep(600)
"""
"""Starts a run's process as Dagster's does."""


def test_a_signal_is_noticed_and_interrupts_nothing():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with interruptible() as interruption:
        assert not interruption.is_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.is_requested()
        assert interruption.reason == "SIGTERM"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_run_whose_code_server_was_killed_notices(tmp_path: Path):
    script = tmp_path / "code_server.py"
    script.write_text(CODE_SERVER, encoding="utf-8")
    server = subprocess.Popen([sys.executable, "-W", "ignore", script], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "asked before: False\n"
    server.kill()
    said, _ = server.communicate(timeout=60)
    assert said == "asked because the code server that started it has ended\n"
