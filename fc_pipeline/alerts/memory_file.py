"""What the watcher knows and has told, kept in a file, so that a restart neither repeats nor forgets."""

import logging
import os
import tempfile
from pathlib import Path

import msgspec

from fc_pipeline.alerts.turns import Memory

__all__ = ["MemoryFile"]

_log = logging.getLogger(__name__)


class MemoryFile:
    """`alerts.json` in the data folder, of mode 0600; replaced as a whole, never half written."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "alerts.json"

    def read(self) -> Memory:
        """What was kept; nothing where there is no file, or none that this release can read."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Memory)
        except FileNotFoundError:
            return Memory()
        except msgspec.MsgspecError as error:
            _log.warning("alerts_forgotten file=%s reason=%r: what stands is told anew", self.path, str(error))
            return Memory()

    def write(self, memory: Memory) -> None:
        """Keep it."""
        descriptor, name = tempfile.mkstemp(prefix="alerts.json-", dir=self.path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(memory))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
