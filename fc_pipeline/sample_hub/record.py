"""The file in which live blocks are kept across restarts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fc_pipeline.errors import ConfigError

__all__ = ["Record"]


class _Confirmed(msgspec.Struct):
    timestamp: int
    totalEvents: int


class _Line(msgspec.Struct):
    type: str
    blockConfirmedBody: _Confirmed | None = None


_LINE = msgspec.json.Decoder(_Line)


@dataclass(slots=True)
class _Second:
    """Where the blocks of one second begin in the file, and how much of them is there."""

    timestamp: int
    start: int
    blocks: int = 0
    events: int = 0
    events_due: int = 0


class Record:
    """Events as NDJSON, appended second by second, each second in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, raws: Sequence[bytes]) -> None:
        """Add all blocks of a second. Raises ConfigError where the file cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"\n".join(raws) + b"\n")
        except OSError as error:
            raise ConfigError(f"cannot write the record {self.path}: {error}", hint="choose another file") from error

    def complete_lines(self, shards: int) -> list[bytes]:
        """The events recorded so far; a last second that a crash cut short is cut off the file.

        Raises ConfigError where the file cannot be read or is not a record.
        """
        if not self.path.exists():
            return []
        try:
            content = self.path.read_bytes()
            end = _complete_bytes(content, shards)
            if end < len(content):
                with self.path.open("r+b") as file:
                    file.truncate(end)
        except OSError as error:
            raise ConfigError(f"cannot read the record {self.path}: {error}", hint="choose another file") from error
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self.path} is not a record of hub events: {error}", hint="delete it") from error
        return content[:end].split(b"\n")[:-1]


def _complete_bytes(content: bytes, shards: int) -> int:
    """How many bytes hold complete seconds: a block of every shard, each with all its events."""
    end = content.rfind(b"\n") + 1
    last: _Second | None = None
    offset = 0
    for line in content[:end].split(b"\n")[:-1]:
        confirmed = _LINE.decode(line).blockConfirmedBody
        if confirmed is not None:
            if last is None or confirmed.timestamp != last.timestamp:
                last = _Second(confirmed.timestamp, offset)
            last.blocks += 1
            last.events_due += confirmed.totalEvents
        if last is not None:
            last.events += 1
        offset += len(line) + 1
    if last is not None and (last.blocks < shards or last.events < last.events_due):
        return last.start
    return end
