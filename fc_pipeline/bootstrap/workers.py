"""Processes that load parts side by side, each with its own look at the files and its own Postgres session.

Of a running node's database every process would see another block: there this process loads everything itself.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Final, Self

from fc_pipeline.bootstrap.message_rows import version_of
from fc_pipeline.bootstrap.part import PartLoader
from fc_pipeline.bootstrap.small_records import CONTRACTS_STAGE, NAMES_STAGE, ContractLoader, NameLoader
from fc_pipeline.errors import NodeDatabaseError, ServiceError
from fc_pipeline.feed.tuning import tune_process
from fc_pipeline.node_db.database import NodeShard, ShardFolder
from fc_pipeline.store.bulk_load import LoadPart, LoadShard
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["LoadTask", "LoadWorkers", "PartLoaders"]

_QUEUED_PER_WORKER: Final = 2


@dataclass(frozen=True)
class LoadTask:
    """What every worker needs to know: the databases, the state that is loaded, and where to."""

    folders: tuple[ShardFolder, ...]
    shards: tuple[LoadShard, ...]
    libpq_url: str = field(repr=False)
    run_id: str


class PartLoaders:
    """One process's look at the files and its session: loads parts of any shard and stage."""

    def __init__(self, task: LoadTask, nodes: Iterable[NodeShard] = ()) -> None:
        self._task = task
        self._nodes = {node.shard: node for node in nodes}
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Open what is not open yet. Raises NodeDatabaseError where files are not of the state that is loaded."""
        task = self._task
        self._session = WriterSession(task.libpq_url, task.run_id)
        self._session.open_through_faults()
        self._opened.callback(self._session.close)
        for folder, shard in zip(task.folders, task.shards, strict=True):
            if shard.shard not in self._nodes:
                self._nodes[shard.shard] = self._opened.enter_context(NodeShard(folder))
            found = self._nodes[shard.shard].height
            if found != shard.height:
                raise NodeDatabaseError(
                    f"{folder.path} is at block {found} by now, and {shard.height} is loaded",
                    hint="a node is writing there: stop it, or load from a copy",
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what it opened itself."""
        self._opened.close()

    def load(self, stage: str, part: LoadPart) -> int:
        """Load a part; how many records were read. Raises FcPipelineError."""
        task = self._task
        node = self._nodes[part.shard]
        shard = next(one for one in task.shards if one.shard == part.shard)
        if stage == NAMES_STAGE:
            return NameLoader(node, shard, self._session).load(part)
        if stage == CONTRACTS_STAGE:
            return ContractLoader(node, shard, self._session).load(part)
        versions = [version_of(one.height) for one in task.shards]
        return PartLoader(node, shard, len(task.shards), versions, self._session, task.run_id).load(part)


class LoadWorkers:
    """So many processes, or this one alone where `nodes` are given. Once `should_stop`, no further part is begun."""

    def __init__(
        self, task: LoadTask, workers: int, should_stop: Callable[[], bool], nodes: Iterable[NodeShard] | None = None
    ) -> None:
        self._task, self._workers, self._should_stop = task, workers, should_stop
        self._own = None if nodes is None else PartLoaders(task, nodes)
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Start the processes."""
        if self._own is not None:
            self._opened.enter_context(self._own)
            return self
        self._pool = self._opened.enter_context(
            ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_open,
                initargs=(self._task,),
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


_LOADERS: dict[str, PartLoaders] = {}
"""A worker process's own, opened when it starts and closed with it."""


def _open(task: LoadTask) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that hands out the parts
    tune_process()
    loaders = PartLoaders(task)
    loaders.__enter__()
    # The end of the interpreter would find the session's driver half gone.
    Finalize(None, loaders.__exit__, (None, None, None), exitpriority=1)
    _LOADERS["own"] = loaders


def _load(stage: str, part: LoadPart) -> int:
    return _LOADERS["own"].load(stage, part)
