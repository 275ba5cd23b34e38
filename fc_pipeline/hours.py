"""Hours of block time (UTC): the partitions of the raw log and of every table that is made from it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

__all__ = ["FIRST_HOUR", "HOUR_SECONDS", "PARTITION_FORMAT", "Hour", "span_of"]

HOUR_SECONDS: Final = 3600
PARTITION_FORMAT: Final = "%Y-%m-%d-%H:%M"
"""Dagster's own format of hourly partition keys."""
_KEY: Final = re.compile(r"\d{4}-\d{2}-\d{2}-([01]\d|2[0-3]):00", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Hour:
    """The hour that begins at `start_unix` (unix seconds, a multiple of 3600)."""

    start_unix: int

    @classmethod
    def of(cls, unix_seconds: float) -> Self:
        """The hour that contains a time."""
        return cls(int(unix_seconds) // HOUR_SECONDS * HOUR_SECONDS)

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The hour of a partition key. Raises ValueError for another format, or a time inside an hour."""
        # Not strptime, which takes ten times as long: a year is read at once.
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not a full hour")
        return cls.of(datetime.fromisoformat(f"{key[:10]}T{key[11:]}+00:00").timestamp())

    @property
    def key(self) -> str:
        """The partition key, such as `2026-11-23-12:00`."""
        return self.start.strftime(PARTITION_FORMAT)

    @property
    def folder(self) -> str:
        """The hour in a path, such as `2026-11-23T12`."""
        return self.start.strftime("%Y-%m-%dT%H")

    @property
    def start(self) -> datetime:
        """When the hour begins."""
        return datetime.fromtimestamp(self.start_unix, UTC)

    @property
    def end_unix(self) -> int:
        """When the hour ends, exclusive."""
        return self.start_unix + HOUR_SECONDS

    @property
    def next(self) -> "Hour":
        """The hour after."""
        return Hour(self.end_unix)

    def contains(self, unix_seconds: float) -> bool:
        """Whether a time lies in this hour."""
        return self.start_unix <= unix_seconds < self.end_unix


def span_of(first_key: str, last_key: str) -> str:
    """The hours between two partition keys, as people write them."""
    return first_key if first_key == last_key else f"{first_key} to {last_key}"


FIRST_HOUR: Final = Hour(1_609_459_200)
"""2021-01-01T00:00Z, the Farcaster epoch: no block can be older."""
