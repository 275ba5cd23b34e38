"""Processes that load parts side by side, each with what it reads and a Postgres session of its own."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Final, Protocol, Self

from fc_pipeline.errors import ServiceError
from fc_pipeline.feed.tuning import tune_process
from fc_pipeline.store.bulk_load import LoadPart

__all__ = ["LoadWorkers", "MakeLoader", "PartLoader"]

_QUEUED_PER_WORKER: Final = 2


class PartLoader(Protocol):
    """Loads parts of any stage, in one process."""

    def load(self, stage: str, part: LoadPart) -> int:
        """Load a part in one transaction; how many records were read. Raises FcPipelineError."""
        ...


MakeLoader = Callable[[], AbstractContextManager[PartLoader]]
"""Opens one; as it goes to other processes it can be pickled, unless there is but this one."""


class LoadWorkers:
    """So many processes, of one none but this. Once `should_stop`, no further part is begun."""

    def __init__(self, make: MakeLoader, workers: int, should_stop: Callable[[], bool]) -> None:
        self._make, self._workers, self._should_stop = make, workers, should_stop
        self._own: PartLoader | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Start the processes."""
        if self._workers == 1:
            self._own = self._opened.enter_context(self._make())
            return self
        self._pool = self._opened.enter_context(
            ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_open,
                initargs=(self._make,),
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them, after the parts that they are at."""
        if self._own is None and kind is not None:
            self._pool.shutdown(cancel_futures=True)
        self._opened.close()

    def load(self, stage: str, parts: Iterable[LoadPart]) -> Iterator[LoadPart]:
        """Load parts; gives each that is done. Raises what loading raises, ServiceError where a process died."""
        if self._own is not None:
            for part in parts:
                if self._should_stop():
                    return
                self._own.load(stage, part)
                yield part
            return
        try:
            yield from self._load(stage, iter(parts))
        except BrokenProcessPool as error:
            raise ServiceError(
                "a process that loads parts was killed",
                hint="is there enough memory? Fewer --workers take less; the same command goes on where this ended",
            ) from error

    def _load(self, stage: str, parts: Iterator[LoadPart]) -> Iterator[LoadPart]:
        begun: dict[Future[int], LoadPart] = {}
        while True:
            while len(begun) < _QUEUED_PER_WORKER * self._workers and not self._should_stop():
                part = next(parts, None)
                if part is None:
                    break
                begun[self._pool.submit(_load, stage, part)] = part
            if not begun:
                return
            done, _ = wait(begun, return_when=FIRST_COMPLETED)
            for one in done:
                part = begun.pop(one)
                one.result()
                yield part


_LOADERS: dict[str, PartLoader] = {}
"""A worker process's own, opened when it starts and closed with it."""


def _open(make: MakeLoader) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that hands out the parts
    tune_process()
    opened = make()
    _LOADERS["own"] = opened.__enter__()
    # The end of the interpreter would find the session's driver half gone.
    Finalize(None, opened.__exit__, (None, None, None), exitpriority=1)


def _load(stage: str, part: LoadPart) -> int:
    return _LOADERS["own"].load(stage, part)
