"""One process's look at a node's files, and its Postgres session: loads parts of any shard and stage.

Of a running node's database every process would see another block: there one alone loads everything.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from fc_pipeline.bootstrap.message_rows import version_of
from fc_pipeline.bootstrap.part import PartLoader
from fc_pipeline.bootstrap.small_records import NAMES_STAGE, ContractLoader, NameLoader
from fc_pipeline.bulk_load.stages import CONTRACTS_STAGE
from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.node_db.database import NodeShard, ShardFolder
from fc_pipeline.store.bulk_load import LoadPart, LoadShard
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["LoadTask", "NodeLoader"]


@dataclass(frozen=True)
class LoadTask:
    """What every worker needs to know: the databases, the state that is loaded, and where to."""

    folders: tuple[ShardFolder, ...]
    shards: tuple[LoadShard, ...]
    libpq_url: str = field(repr=False)
    run_id: str


class NodeLoader:
    """Loads parts. `nodes` are databases that are open already, and stay so."""

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
