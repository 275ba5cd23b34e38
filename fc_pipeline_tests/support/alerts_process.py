"""`fc-pipeline alerts watch` as a process, as it runs beside Dagster's own without `up`."""

import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fc_pipeline_tests.support.receiver import Receiver

END_SECONDS = 60.0


@contextmanager
def alerts_watching(environment: Mapping[str, str], receiver: Receiver, log: Path) -> Generator[None]:
    """It tells the receiver; its log is for who looks for why a test failed."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fc_pipeline.cli", "alerts", "watch"],
            env={**environment, "FC_ALERT_URLS": receiver.url},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(END_SECONDS)
