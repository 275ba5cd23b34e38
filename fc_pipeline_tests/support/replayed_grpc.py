"""A recorded node's gRPC answers, replayed on loopback by the tool that comes with the recordings."""

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["replayed_grpc"]

PATIENCE_SECONDS = 30


@contextmanager
def replayed_grpc(fixtures: Path, recording: str = "snapchain") -> Generator[str]:
    """The address, as FC_HUB_GRPC takes it."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tool = fixtures.parent / "tools" / "replay_grpc.py"
    command = [sys.executable, str(tool), "--port", str(port), "--dir", str(fixtures / recording)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while not _listens(port):
            assert process.poll() is None, "the recorded node's server has ended"
            assert time.monotonic() < until, "the recorded node's server does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
