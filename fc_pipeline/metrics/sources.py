"""Sources of metrics, each read again and again by a thread of its own, so that one that hangs keeps no other waiting.

A scrape is answered from what was read last. What a source said before it failed is not shown any more.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fc_pipeline.causes import cause_of
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics.families import Sample

__all__ = ["Source", "Sources"]

_log = logging.getLogger(__name__)

_LATE_READINGS: Final = 3
"""A source that was not read for so many of its intervals, such as one that hangs, is down."""


@dataclass
class Source:
    """One source: how to read it, and how often."""

    name: str
    read: Callable[[], Sequence[Sample]]
    every_seconds: float
    _samples: Sequence[Sample] = field(default=(), init=False)
    _read_at: float | None = field(default=None, init=False)
    _failed: bool = field(default=False, init=False)

    def refresh(self) -> None:
        """Read it now; says once that it fails, and once that it does not any more."""
        try:
            samples = self.read()
        except Exception as error:  # whatever it is: the source is down, and is asked again
            if not self._failed:
                _log.warning("metrics_source_down source=%s reason=%r", self.name, cause_of(error).message)
            self._failed, self._samples = True, ()
            return
        if self._failed:
            _log.warning("metrics_source_up source=%s", self.name)
        self._samples, self._read_at, self._failed = samples, time.monotonic(), False

    def samples(self) -> list[Sample]:
        """What was read last, unless that was long ago, and whether it is up."""
        age_seconds = None if self._read_at is None else time.monotonic() - self._read_at
        is_up = not self._failed and age_seconds is not None and age_seconds <= _LATE_READINGS * self.every_seconds + 10
        about = [f.SOURCE_UP.of(is_up, self.name)]
        if age_seconds is not None:
            about.append(f.SOURCE_AGE.of(age_seconds, self.name))
        return [*about, *(self._samples if is_up else ())]


class Sources:
    """Several sources, read until `stop`."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to read; returns at once."""
        for source in self._sources:
            threading.Thread(target=self._keep, args=(source,), name=f"read-{source.name}", daemon=True).start()

    def stop(self) -> None:
        """Read no more, once what is being read is."""
        self._stopped.set()

    def samples(self) -> list[Sample]:
        """What all of them said last."""
        return [sample for source in self._sources for sample in source.samples()]

    def _keep(self, source: Source) -> None:
        while True:
            source.refresh()
            if self._stopped.wait(source.every_seconds):
                return
