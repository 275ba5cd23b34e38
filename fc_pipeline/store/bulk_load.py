"""The state of a bulk load in Postgres: one at a time, resumable part by part."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.errors import LoadUnderWay
from fc_pipeline.store.advisory_locks import LOADING, attempted
from fc_pipeline.store.load_tables import BULK_LOAD, BULK_LOAD_NAMES, BULK_LOAD_PARTS, BULK_LOAD_SHARDS

__all__ = [
    "PART_DONE",
    "LoadPart",
    "LoadProgress",
    "LoadShard",
    "OpenLoad",
    "add_parts",
    "alone",
    "begin",
    "done_with",
    "enter_stage",
    "finish",
    "forget",
    "is_under_way",
    "open_load",
    "progress",
    "refuse_under_way",
    "shards",
    "step_done",
    "unfinished_parts",
]

_UNDER_WAY: Final = "SELECT source FROM pipeline.bulk_load WHERE finished_at IS NULL"
PART_DONE: Final = (
    "UPDATE pipeline.bulk_load_parts SET records = $4::bigint, seconds = $5::double precision, done_at = now() "
    "WHERE stage = $1 AND shard = $2::integer AND first_fid = $3::bigint AND done_at IS NULL RETURNING shard"
)
"""Part of the transaction that loads a part; no row: another process has loaded it meanwhile."""


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """A load that is under way, and in which stage."""

    source: str
    stage: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class LoadShard:
    """A shard as it is loaded: the block whose outcome is loaded, its time, and the root that its header has."""

    shard: int
    height: int
    block_at: datetime
    shard_root: bytes


@dataclass(frozen=True, slots=True)
class LoadPart:
    """FIDs of a shard, by their lower 32 bits, with about so many leaves."""

    shard: int
    first_fid: int
    end_fid: int
    leaves: int


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far the stage with the parts is: leaves planned and done, records read, and the time that processes took."""

    parts: int
    parts_done: int
    leaves: int
    leaves_done: int
    records: int
    seconds: float


def open_load(connection: sa.Connection) -> OpenLoad | None:
    """The load that is under way; None where there is none."""
    columns = BULK_LOAD.c
    query = sa.select(columns.source, columns.stage, columns.started_at).where(columns.finished_at.is_(None))
    found = connection.execute(query).one_or_none()
    return None if found is None else OpenLoad(*found)


def is_under_way(engine: sa.Engine) -> bool:
    """Whether a load is under way: then tables are not folded, only the raw log is written."""
    with engine.connect() as connection:
        return open_load(connection) is not None


def refuse_under_way(execute: Callable[[str], Any]) -> None:
    """Raise LoadUnderWay while tables are being loaded: `execute` gives the rows of a statement."""
    for (source,) in execute(_UNDER_WAY):
        raise LoadUnderWay(
            f"the tables are being loaded from {source}",
            hint="wait for it; where it was cut short, the same `fc-pipeline bootstrap` with its --node-db, --snapshot "
            "or --lake goes on; meanwhile the feed goes into the raw log alone, and is folded afterwards",
        )


@contextmanager
def alone(engine: sa.Engine) -> Generator[None]:
    """Keep other processes from loading while the block runs. Raises LoadUnderWay where one is at it."""
    with attempted(engine, LOADING) as is_ours:
        if not is_ours:
            raise LoadUnderWay(
                "another process is loading this database's tables",
                hint="let it go on: two would empty each other's tables; `fc-pipeline up` shows its run",
            )
        yield


def done_with(connection: sa.Connection, of_shards: Sequence[LoadShard]) -> tuple[int, ...] | None:
    """How many leaves of each of these shards were loaded and proved, in their order; None where they were not."""
    columns = BULK_LOAD_SHARDS.c
    if not connection.scalar(sa.select(sa.exists().where(BULK_LOAD.c.finished_at.is_not(None)))):
        return None
    if shards(connection) != list(of_shards):
        return None
    found = connection.scalars(sa.select(columns.leaves).order_by(columns.shard)).all()
    return tuple(found) if found and None not in found else None


def begin(connection: sa.Connection, source: str, stage: str, run_id: str, of_shards: Sequence[LoadShard]) -> None:
    """Record that a load begins."""
    connection.execute(sa.insert(BULK_LOAD).values(source=source, stage=stage, run_id=run_id))
    if of_shards:
        connection.execute(
            sa.insert(BULK_LOAD_SHARDS),
            [
                {"shard": one.shard, "height": one.height, "block_at": one.block_at, "shard_root": one.shard_root}
                for one in of_shards
            ],
        )


def add_parts(connection: sa.Connection, stage: str, parts: Sequence[LoadPart]) -> None:
    """Plan the parts of a stage."""
    if parts:
        connection.execute(
            sa.insert(BULK_LOAD_PARTS),
            [
                {
                    "stage": stage,
                    "shard": one.shard,
                    "first_fid": one.first_fid,
                    "end_fid": one.end_fid,
                    "leaves": one.leaves,
                }
                for one in parts
            ],
        )


def enter_stage(connection: sa.Connection, stage: str, run_id: str) -> None:
    """Record which stage is under way, and which run works on it."""
    connection.execute(sa.update(BULK_LOAD).where(BULK_LOAD.c.finished_at.is_(None)).values(stage=stage, run_id=run_id))


def shards(connection: sa.Connection) -> list[LoadShard]:
    """The shards of the load."""
    columns = BULK_LOAD_SHARDS.c
    query = sa.select(columns.shard, columns.height, columns.block_at, columns.shard_root).order_by(columns.shard)
    return [LoadShard(*row) for row in connection.execute(query)]


def unfinished_parts(connection: sa.Connection, stage: str) -> list[LoadPart]:
    """The parts of a stage that are not loaded yet, the largest first."""
    columns = BULK_LOAD_PARTS.c
    query = sa.select(columns.shard, columns.first_fid, columns.end_fid, columns.leaves)
    query = query.where(columns.stage == stage, columns.done_at.is_(None))
    return [LoadPart(*row) for row in connection.execute(query.order_by(columns.leaves.desc(), columns.first_fid))]


def step_done(connection: sa.Connection, step: str) -> bool:
    """Note that a step of one part is done; False: it was done before."""
    columns = BULK_LOAD_PARTS.c
    done = sa.update(BULK_LOAD_PARTS).where(columns.stage == step, columns.done_at.is_(None))
    return connection.execute(done.values(done_at=sa.func.now(), records=0, seconds=0.0)).rowcount > 0


def progress(connection: sa.Connection, stage: str) -> LoadProgress:
    """How far a stage is, over all processes."""
    columns = BULK_LOAD_PARTS.c
    is_done = columns.done_at.is_not(None)
    query = sa.select(
        sa.func.count(),
        sa.func.count(columns.done_at),
        sa.func.coalesce(sa.func.sum(columns.leaves), 0),
        sa.func.coalesce(sa.func.sum(columns.leaves).filter(is_done), 0),
        sa.func.coalesce(sa.func.sum(columns.records), 0),
        sa.func.coalesce(sa.func.sum(columns.seconds), 0.0),
    ).where(columns.stage == stage)
    parts, parts_done, leaves, leaves_done, records, seconds = connection.execute(query).one()
    return LoadProgress(parts, parts_done, int(leaves), int(leaves_done), int(records), float(seconds))


def finish(connection: sa.Connection) -> None:
    """Record that the load is at its end: tables are folded again. What only it needed is dropped."""
    connection.execute(
        sa.update(BULK_LOAD).where(BULK_LOAD.c.finished_at.is_(None)).values(finished_at=sa.func.now(), stage="done")
    )
    connection.execute(sa.delete(BULK_LOAD_PARTS))
    connection.execute(sa.delete(BULK_LOAD_NAMES))


def forget(connection: sa.Connection) -> None:
    """Forget a load, to begin another one."""
    for table in (BULK_LOAD_NAMES, BULK_LOAD_PARTS, BULK_LOAD_SHARDS, BULK_LOAD):
        connection.execute(sa.delete(table))
