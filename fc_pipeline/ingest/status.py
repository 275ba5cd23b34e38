"""The replica at a glance: per shard head, cursor, lag and holes; rows per table; quarantine; Redis. Reads only."""

import asyncio
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
import sqlalchemy as sa
from redis.exceptions import RedisError

from fc_pipeline.errors import HubError
from fc_pipeline.fold import ledger
from fc_pipeline.fold.ledger import HeightRange
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.ingest.replica import Replica, open_replica
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.ingest.survey import ShardSurvey, survey
from fc_pipeline.settings import Settings
from fc_pipeline.tables.bookkeeping import QUARANTINE
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["RedisStatus", "ReplicaStatus", "ShardStatus", "TableStatus", "missing_blocks", "read_status"]


@dataclass(frozen=True)
class ShardStatus:
    """One shard; heights are inclusive, `head_*` and `lag_seconds` None where no hub could be asked.

    `lag_seconds` is by how much the last folded block is older than the hub's newest one. `holes` are what the ledger
    lacks up to the head (without a hub: up to the cursor); `lost` is the part of it that the hub no longer has.
    """

    shard: int
    origin_height: int
    cursor_height: int | None
    cursor_at: datetime | None
    head_height: int | None
    head_at: datetime | None
    lag_seconds: float | None
    holes: tuple[HeightRange, ...]
    lost: tuple[HeightRange, ...]

    @property
    def missing_blocks(self) -> int:
        """Heights that the ledger lacks."""
        return missing_blocks(self.holes)


@dataclass(frozen=True)
class TableStatus:
    """Rows of one table: live ones, and tombstones."""

    live: int
    deleted: int


@dataclass(frozen=True)
class RedisStatus:
    """Whether Redis answers, with the number of its keys, or why not."""

    keys: int | None
    problem: str | None


@dataclass(frozen=True)
class ReplicaStatus:
    """Everything that `fc-pipeline status` shows."""

    hub_urls: tuple[str, ...]
    hub_problem: str | None
    shards: tuple[ShardStatus, ...]
    tables: dict[str, TableStatus]
    quarantine: dict[str, int]
    targets: str
    redis: RedisStatus

    @property
    def is_complete(self) -> bool:
        """Whether the ledger has no hole: proven only where a hub said how far it must go."""
        return self.hub_problem is None and all(not shard.holes for shard in self.shards)


def missing_blocks(holes: tuple[HeightRange, ...] | list[HeightRange]) -> int:
    """How many heights are in these ranges."""
    return sum(hole.last - hole.first + 1 for hole in holes)


def read_status(settings: Settings) -> ReplicaStatus:
    """Look at the replica that the settings describe; Postgres' URL must be filled in.

    Where no hub is known or none answers, the rest is told all the same, with the problem. Raises FcPipelineError
    where Postgres or the lake cannot be opened.
    """
    with open_replica(settings) as replica:
        surveyed, problem = _survey(replica)
        with replica.engine.connect() as connection:
            shards = [
                _shard(connection, shard, origin, surveyed.get(shard))
                for shard, origin in ledger.origins(connection).items()
            ]
            return ReplicaStatus(
                hub_urls=settings.hub_urls,
                hub_problem=problem,
                shards=tuple(shards),
                tables=_tables(connection),
                quarantine=_quarantine(connection),
                targets=settings.targets,
                redis=_redis(settings.redis_url),
            )


def _survey(replica: Replica) -> tuple[dict[int, ShardSurvey], str | None]:
    if not replica.settings.hub_urls:
        return {}, "no hub is running"
    try:
        return asyncio.run(_surveyed(replica)), None
    except HubError as error:
        return {}, str(error)


async def _surveyed(replica: Replica) -> dict[int, ShardSurvey]:
    async with HubPool(replica.hub_endpoints, retries=1) as hubs:
        state = await survey(replica, hubs, [RAW_LOG, *DATA_TABLES])
    return {shard.shard: shard for shard in state.shards}


def _shard(
    connection: sa.Connection, shard: int, origin: ledger.ShardOrigin, surveyed: ShardSurvey | None
) -> ShardStatus:
    cursor = ledger.last_covered(connection, shard)
    height, at = cursor or (None, None)
    if surveyed is None:
        covered = ledger.covered(connection, shard, tables=[RAW_LOG, *DATA_TABLES])
        holes = ledger.holes(covered, origin.height, origin.height - 1 if height is None else height)
        return ShardStatus(shard, origin.height, height, at, None, None, None, tuple(holes), ())
    head_at = datetime.fromtimestamp(surveyed.head_unix, UTC)
    since = at or origin.at
    return ShardStatus(
        shard=shard,
        origin_height=origin.height,
        cursor_height=height,
        cursor_at=at,
        head_height=surveyed.head_height,
        head_at=head_at,
        lag_seconds=max(0.0, (head_at - since).total_seconds()),
        holes=tuple(sorted((*surveyed.holes, *surveyed.lost))),
        lost=surveyed.lost,
    )


def _tables(connection: sa.Connection) -> dict[str, TableStatus]:
    found: dict[str, TableStatus] = {}
    for name, table in DATA_TABLES.items():
        deleted = sa.func.count(table.sql.c.deleted_at)
        row = connection.execute(sa.select(sa.func.count() - deleted, deleted).select_from(table.sql)).one()
        found[name] = TableStatus(live=row[0], deleted=row[1])
    return found


def _quarantine(connection: sa.Connection) -> dict[str, int]:
    query = sa.select(QUARANTINE.c.reason, sa.func.count()).where(QUARANTINE.c.resolved_at.is_(None))
    return {row[0]: row[1] for row in connection.execute(query.group_by(QUARANTINE.c.reason))}


def _redis(url: str | None) -> RedisStatus:
    if url is None:
        return RedisStatus(None, "not running")
    try:
        with closing(redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)) as client:
            keys: int = client.dbsize()  # pyright: ignore[reportAssignmentType] - its annotation is for both kinds
            return RedisStatus(keys, None)
    except RedisError as error:
        return RedisStatus(None, str(error))
