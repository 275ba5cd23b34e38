"""The command `sample-hub` in a process of its own: a hub that speaks gRPC and has a validator."""

import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["sample_hub_process"]

_COMMAND = (sys.executable, "-m", "fc_pipeline.cli", "sample-hub", "--port", "0", "--grpc-port", "0")
_SAID = {
    "FC_HUB_URLS": r"sample hub: (\S+)",
    "FC_HUB_GRPC": r"gRPC: (\S+)",
    "FC_VALIDATORS": r"validator: (\w+)",
}


@contextmanager
def sample_hub_process(*, events: int = 3_000, fids: int = 100) -> Generator[dict[str, str]]:
    """What it says of itself, as settings."""
    command = [*_COMMAND, "--events", str(events), "--fids", str(fids)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline() + process.stdout.readline()
            yield {name: found[1] for name, pattern in _SAID.items() if (found := re.search(pattern, said))}
        finally:
            process.terminate()
