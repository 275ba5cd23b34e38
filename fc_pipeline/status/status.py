"""The state of the replica: per shard head, cursor, lag and holes; gaps; rows per table; quarantine. Read-only."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa

from fc_pipeline import heights
from fc_pipeline.errors import HubError
from fc_pipeline.feed.outputs import OUTPUTS
from fc_pipeline.feed.survey import ShardSurvey, Survey, survey
from fc_pipeline.hub.network_time import clock_warning
from fc_pipeline.hub.probe import probe_pool
from fc_pipeline.replica import Replica
from fc_pipeline.store import gaps, ledger
from fc_pipeline.store.bookkeeping import QUARANTINE
from fc_pipeline.store.gaps import Gap
from fc_pipeline.store.partitions import extent_of
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline.targets import coherence, directory

__all__ = ["GapStatus", "ReplicaState", "ReplicaStatus", "ShardStatus", "TableStatus", "TargetStatus", "read_status"]

ReplicaState = Literal["complete", "no_hub", "hub_unreachable", "behind", "holes"]

LEVEL_WITHIN_BLOCKS: Final = 30
"""A replica that follows is a block or two behind at any moment; up to this it counts as level."""
COUNTED_ROWS: Final = 5_000_000
"""Above so many rows (Postgres' estimate), a table is not counted: it would be read whole."""


@dataclass(frozen=True)
class ShardStatus:
    """One shard; heights and holes are inclusive. What needs a hub is None where none could be asked.

    `holes` are what the ledger lacks between `origin_height` and the cursor, `missing_blocks` how many heights that is;
    what lies between cursor and head is not missing but `blocks_behind`. What snapshots have brought is not missing:
    `blocks_by_snapshots` says how many heights that is. `lag_seconds` is the age of the last folded block; None while
    nothing is folded.
    """

    shard: int
    origin_height: int
    head_height: int | None
    cursor_height: int | None
    blocks_behind: int | None
    lag_seconds: float | None
    missing_blocks: int
    holes: tuple[tuple[int, int], ...]
    blocks_by_snapshots: int


@dataclass(frozen=True)
class GapStatus:
    """Heights, inclusive, whose events the feed cannot give any more; open until `healed_at`."""

    shard: int
    from_height: int
    to_height: int
    reason: str
    found_at: datetime
    healed_at: datetime | None
    healed_by: str | None
    healed_how: str | None


@dataclass(frozen=True)
class TableStatus:
    """Rows of one table: live ones and tombstones, or, `estimated`, all of them together as live ones."""

    table: str
    live_rows: int
    deleted_rows: int
    estimated: bool


@dataclass(frozen=True)
class TargetStatus:
    """The target set, and how its copy in Redis differs; `redis` is ok, behind, drift or unreachable."""

    targets: int
    by_reason: dict[str, int]
    unsynced: int
    failing: int
    former: int
    unsettled: int
    generation: int
    redis: str
    redis_missing: int
    redis_extra: int


@dataclass(frozen=True)
class ReplicaStatus:
    """All of it; `hub_error` says why no hub could be asked, `has_hub` whether there is one to ask.

    `clock_warning` says that this machine's clock and the hub's are apart.
    """

    hub_error: str | None
    has_hub: bool
    shards: tuple[ShardStatus, ...]
    tables: tuple[TableStatus, ...]
    quarantine: dict[str, int]
    targets: TargetStatus | None = None
    gaps: tuple[GapStatus, ...] = ()
    clock_warning: str | None = None

    @property
    def open_gaps(self) -> tuple[GapStatus, ...]:
        """Those that nothing has healed yet."""
        return tuple(gap for gap in self.gaps if gap.healed_at is None)

    @property
    def is_complete(self) -> bool:
        """Whether there is no hole in the ledger up to the cursors and no open gap, and these are near the hub's heads.

        Always False without a hub.
        """
        return self.state == "complete"

    @property
    def state(self) -> ReplicaState:
        """The worst state that applies: holes, else hub_unreachable or no_hub, else behind, else complete.

        With no_hub there is nothing to compare with: none is configured, and the sample hub does not run.
        """
        if self.open_gaps or any(shard.holes for shard in self.shards):
            return "holes"
        if self.hub_error:
            return "hub_unreachable" if self.has_hub else "no_hub"
        behind = [shard.blocks_behind for shard in self.shards]
        is_level = all(blocks is not None and blocks <= LEVEL_WITHIN_BLOCKS for blocks in behind)
        return "complete" if behind and is_level else "behind"


def read_status(replica: Replica) -> ReplicaStatus:
    """Read the replica's state. If there is no hub or none answers, the rest is reported anyway."""
    state, hub_error = _surveyed(replica)
    surveyed = {shard.shard: shard for shard in state.shards} if state else {}
    now = state.now_unix if state else time.time()
    with replica.engine.connect() as connection:
        origins = {shard: origin.height for shard, origin in ledger.origins(connection).items()}
        origins |= {shard: found.origin_height for shard, found in surveyed.items()}
        return ReplicaStatus(
            hub_error=hub_error,
            has_hub=bool(replica.settings.hub_urls),
            shards=tuple(
                _shard(connection, shard, height, surveyed.get(shard), now) for shard, height in sorted(origins.items())
            ),
            tables=tuple(_table(connection, table) for table in ALL_TABLES.values()),
            quarantine=_quarantine(connection),
            targets=_targets(replica, connection) if replica.targets is not None else None,
            gaps=tuple(_gap(gap) for gap in gaps.all_gaps(connection)),
            clock_warning=clock_warning(state.clock_ahead_seconds) if state else None,
        )


def _surveyed(replica: Replica) -> tuple[Survey | None, str | None]:
    if not replica.settings.hub_urls:
        return None, "no hub is configured and the sample hub does not run"
    try:
        return asyncio.run(_survey(replica)), None
    except HubError as error:
        return None, str(error)


async def _survey(replica: Replica) -> Survey:
    async with probe_pool(replica.hub_endpoints) as hubs:
        return await survey(replica, hubs, OUTPUTS)


def _shard(
    connection: sa.Connection, shard: int, origin_height: int, hub: ShardSurvey | None, now_unix: float
) -> ShardStatus:
    cursor = ledger.last_covered(connection, shard)
    folded_height = cursor[0] if cursor else origin_height - 1
    unfolded = heights.holes(ledger.covered(connection, shard, tables=OUTPUTS), origin_height, folded_height)
    holes = heights.without(unfolded, gaps.by_snapshots(connection, shard))
    return ShardStatus(
        shard=shard,
        origin_height=origin_height,
        head_height=hub.head_height if hub else None,
        cursor_height=cursor[0] if cursor else None,
        blocks_behind=max(0, hub.head_height - folded_height) if hub else None,
        lag_seconds=max(0.0, now_unix - cursor[1].timestamp()) if cursor else None,
        missing_blocks=heights.height_count(holes),
        holes=tuple((hole.first, hole.last) for hole in holes),
        blocks_by_snapshots=heights.height_count(unfolded) - heights.height_count(holes),
    )


def _targets(replica: Replica, connection: sa.Connection) -> TargetStatus:
    known = directory.numbers(connection)
    found = coherence.compare(replica.engine, replica.settings.redis_url)
    redis = (
        "unreachable" if not found.reachable else "behind" if found.is_behind else "drift" if found.is_drift else "ok"
    )
    return TargetStatus(
        targets=known.targets,
        by_reason=known.by_reason,
        unsynced=known.unsynced,
        failing=known.failing,
        former=known.former,
        unsettled=known.unsettled,
        generation=known.generation,
        redis=redis,
        redis_missing=len(found.missing),
        redis_extra=len(found.extra),
    )


def _gap(gap: Gap) -> GapStatus:
    return GapStatus(
        gap.shard,
        gap.heights.first,
        gap.heights.last,
        gap.reason,
        gap.found_at,
        gap.healed_at,
        gap.healed_by,
        gap.healed_how,
    )


def _table(connection: sa.Connection, table: DataTable) -> TableStatus:
    rows = extent_of(connection, table.qualified).rows
    if rows > COUNTED_ROWS:
        return TableStatus(table.name, rows, 0, estimated=True)
    deleted = sa.func.count(table.sql.c.deleted_at)
    live_rows, deleted_rows = connection.execute(
        sa.select(sa.func.count() - deleted, deleted).select_from(table.sql)
    ).one()
    return TableStatus(table.name, live_rows, deleted_rows, estimated=False)


def _quarantine(connection: sa.Connection) -> dict[str, int]:
    query = sa.select(QUARANTINE.c.reason, sa.func.count()).where(QUARANTINE.c.resolved_at.is_(None))
    return {row[0]: row[1] for row in connection.execute(query.group_by(QUARANTINE.c.reason))}
