"""Another process that uses an embedded server until it is told to stop, or killed."""

import subprocess
import sys
from pathlib import Path
from typing import Self

_PROGRAM = """
import sys
from pathlib import Path
from importlib import import_module
module, name, data_dir = sys.argv[1:]
server = getattr(import_module(module), name)(Path(data_dir))
print(server.acquire(), flush=True)
sys.stdin.readline()
print(server.release(), flush=True)
"""


class OtherUser:
    """Uses the server of a class and data folder; `url` waits for it, `leave` and `kill` end it."""

    def __init__(self, server_class: type, data_dir: Path) -> None:
        arguments = [server_class.__module__, server_class.__name__, str(data_dir)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> bool:
        """Whether the server was stopped by it."""
        answer, _ = self.process.communicate("\n")
        return answer.strip() == "True"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
