"""Gaps: heights whose events the feed cannot give any more, and how each was healed.

An outage is a hole in the ledger itself. A poison page is not: its block is covered, but for an event that no hub could
send (hub-api T3). A gap that snapshots healed stays on record: the tables are as the hub's, its raw events were never
read.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.heights import HeightRange, height_count, overlap, without
from fc_pipeline.store import advisory_locks, ledger
from fc_pipeline.store.advisory_locks import HEALING_GAPS
from fc_pipeline.store.bookkeeping import COVERAGE, GAPS

__all__ = [
    "FAILED_HOUR",
    "OUTAGE",
    "POISON_PAGE",
    "RECORD_POISON",
    "Gap",
    "all_gaps",
    "blocks_by_snapshots",
    "by_snapshots",
    "heal",
    "healing_lock",
    "is_being_healed",
    "note_failed",
    "observe",
    "reopen",
]

OUTAGE: Final = "outage"
"""Blocks that the hub had forgotten, or never had, when they were to be read."""
FAILED_HOUR: Final = "failed_hour"
"""Blocks that the hub has, but that run after run could not read or fold; an outage once the hub forgets them."""
POISON_PAGE: Final = "poison_page"
"""A block with an event that was stepped over."""
Healing = Literal["feed", "snapshots"]

RECORD_POISON: Final = (
    "INSERT INTO pipeline.gaps (shard, from_height, to_height, reason) "
    f"SELECT DISTINCT shard, event_id >> 14, event_id >> 14, '{POISON_PAGE}' FROM stage_quarantine "
    f"WHERE reason = '{POISON_PAGE}' ON CONFLICT DO NOTHING"
)
"""Part of the transaction that folds the rest of the block."""

_LOCK: Final = sa.text(advisory_locks.gaps_of(":shard").until_commit())


@dataclass(frozen=True, slots=True)
class Gap:
    """A line of `pipeline.gaps`; open as long as nothing has healed it."""

    shard: int
    heights: HeightRange
    reason: str
    found_at: datetime
    healed_at: datetime | None = None
    healed_by: str | None = None
    healed_how: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still waits to be healed."""
        return self.healed_at is None


def all_gaps(connection: sa.Connection, *, only_open: bool = False) -> list[Gap]:
    """Every gap on record, by shard and height."""
    columns = GAPS.c
    query = sa.select(GAPS).order_by(columns.shard, columns.from_height)
    if only_open:
        query = query.where(columns.healed_at.is_(None))
    return [
        Gap(
            row.shard,
            HeightRange(row.from_height, row.to_height),
            row.reason,
            row.found_at,
            row.healed_at,
            row.healed_by,
            row.healed_how,
        )
        for row in connection.execute(query)
    ]


def by_snapshots(connection: sa.Connection, shard: int) -> list[HeightRange]:
    """The heights of a shard, ascending, whose outcome snapshots have brought: nothing of them is missing any more."""
    columns = GAPS.c
    query = sa.select(columns.from_height, columns.to_height).where(
        columns.shard == shard, columns.healed_how == "snapshots"
    )
    return [HeightRange(*row) for row in connection.execute(query.order_by(columns.from_height))]


def blocks_by_snapshots(connection: sa.Connection) -> int:
    """How many heights the replica knows from snapshots alone, over all shards."""
    return sum(
        height_count(without(by_snapshots(connection, shard), ledger.covered(connection, shard)))
        for shard in ledger.origins(connection)
    )


def observe(engine: sa.Engine, shard: int, lost: Sequence[HeightRange]) -> None:
    """Record what a look at a shard has shown: `lost` are the holes that no hub can fill.

    New ones become open gaps, or part of one that they adjoin. Gaps that the ledger covers by now, for another hub had
    them, are healed by that.
    """
    with engine.connect() as connection:
        seen = _of_outages(connection, shard)
        news = _unrecorded(seen, lost) or _filled(connection, shard, seen) or _forgotten(seen, lost)
    if not news:  # as nearly always
        return
    with engine.begin() as connection:
        connection.execute(_LOCK, {"shard": shard})
        seen = _of_outages(connection, shard)
        for heights in _filled(connection, shard, seen):
            _settle(connection, shard, heights, "feed", _folded_by(connection, shard, heights))
        seen = _of_outages(connection, shard)
        for gap in _forgotten(seen, lost):
            connection.execute(sa.update(GAPS).where(_is(gap)).values(reason=OUTAGE))
        for heights in _unrecorded(seen, lost):
            _open(connection, shard, heights, OUTAGE)


def note_failed(engine: sa.Engine, shard: int, heights: Sequence[HeightRange]) -> None:
    """Record heights that could not be read or folded again and again; what is recorded already stays as it is."""
    with engine.begin() as connection:
        connection.execute(_LOCK, {"shard": shard})
        for one in _unrecorded(_of_outages(connection, shard), heights):
            _open(connection, shard, one, FAILED_HOUR)


def heal(engine: sa.Engine, shard: int, reason: str, heights: HeightRange, run_id: str) -> None:
    """Note that snapshots have brought what these heights would have; what else the open gaps hold stays open."""
    with engine.begin() as connection:
        connection.execute(_LOCK, {"shard": shard})
        if reason != POISON_PAGE:
            _settle(connection, shard, heights, "snapshots", run_id)
            return
        columns = GAPS.c
        connection.execute(
            sa.update(GAPS)
            .where(columns.shard == shard, columns.reason == POISON_PAGE, columns.healed_at.is_(None))
            .where(columns.from_height >= heights.first, columns.to_height <= heights.last)
            .values(healed_at=sa.func.now(), healed_by=run_id, healed_how="snapshots")
        )


def healing_lock(engine: sa.Engine) -> AbstractContextManager[bool]:
    """Become the only run that heals, if there is none; the lock ends with the session, however the run ends."""
    return advisory_locks.attempted(engine, HEALING_GAPS)


def is_being_healed(connection: sa.Connection) -> bool:
    """Whether a live run is healing."""
    return advisory_locks.is_held(connection, HEALING_GAPS)


def reopen(connection: sa.Connection) -> None:
    """Note that no snapshot has healed a gap: a table was lost and rebuilt, without what they had brought."""
    connection.execute(
        sa.update(GAPS).where(GAPS.c.healed_how == "snapshots").values(healed_at=None, healed_by=None, healed_how=None)
    )


def _of_outages(connection: sa.Connection, shard: int) -> list[Gap]:
    return [gap for gap in all_gaps(connection) if gap.shard == shard and gap.reason != POISON_PAGE]


def _unrecorded(seen: Sequence[Gap], lost: Sequence[HeightRange]) -> list[HeightRange]:
    """Of what is lost, the heights that no open gap has, and no snapshot brought."""
    return without(lost, [gap.heights for gap in seen if gap.is_open or gap.healed_how == "snapshots"])


def _forgotten(seen: Sequence[Gap], lost: Sequence[HeightRange]) -> list[Gap]:
    """The hours that failed of which no hub has everything any more."""
    failed = [gap for gap in seen if gap.is_open and gap.reason == FAILED_HOUR]
    return [gap for gap in failed if overlap([gap.heights], lost)]


def _filled(connection: sa.Connection, shard: int, seen: Sequence[Gap]) -> list[HeightRange]:
    """Of all gaps but those that the feed has filled, the heights that the ledger covers."""
    unfilled = [gap.heights for gap in seen if gap.healed_how != "feed"]
    return overlap(unfilled, ledger.covered(connection, shard)) if unfilled else []


def _folded_by(connection: sa.Connection, shard: int, heights: HeightRange) -> str:
    columns = COVERAGE.c
    query = sa.select(columns.run_id).where(columns.shard == shard, columns.from_height <= heights.last)
    return connection.execute(query.order_by(columns.from_height.desc()).limit(1)).scalar_one()


def _open(connection: sa.Connection, shard: int, heights: HeightRange, reason: str) -> None:
    """A new open gap, joined with those that it adjoins: what a hub forgets while it is read grows by seconds."""
    columns = GAPS.c
    adjoining = sa.and_(
        columns.shard == shard,
        columns.reason == reason,
        columns.healed_at.is_(None),
        sa.or_(columns.to_height == heights.first - 1, columns.from_height == heights.last + 1),
    )
    joined = list(connection.execute(sa.delete(GAPS).where(adjoining).returning(GAPS)))
    found_at = min((row.found_at for row in joined), default=None)
    first = min([heights.first, *(row.from_height for row in joined)])
    last = max([heights.last, *(row.to_height for row in joined)])
    _insert(connection, Gap(shard, HeightRange(first, last), reason, found_at or _now(connection)))


def _settle(connection: sa.Connection, shard: int, heights: HeightRange, how: Healing, run_id: str) -> None:
    """Gaps, or parts of them, are healed; where only a part is, the rest becomes a gap of its own."""
    for gap in _of_outages(connection, shard):
        if gap.healed_how in ("feed", how) or not overlap([gap.heights], [heights]):
            continue
        connection.execute(sa.delete(GAPS).where(_is(gap)))
        for rest in without([gap.heights], [heights]):
            _insert(
                connection,
                Gap(shard, rest, gap.reason, gap.found_at, gap.healed_at, gap.healed_by, gap.healed_how),
            )
        for healed in overlap([gap.heights], [heights]):
            _insert(connection, Gap(shard, healed, gap.reason, gap.found_at, _now(connection), run_id, how))


def _is(gap: Gap) -> sa.ColumnElement[bool]:
    columns = GAPS.c
    first, last = gap.heights.first, gap.heights.last
    return sa.and_(columns.shard == gap.shard, columns.from_height == first, columns.to_height == last)


def _insert(connection: sa.Connection, gap: Gap) -> None:
    values = {
        "shard": gap.shard,
        "from_height": gap.heights.first,
        "to_height": gap.heights.last,
        "reason": gap.reason,
        "found_at": gap.found_at,
        "healed_at": gap.healed_at,
        "healed_by": gap.healed_by,
        "healed_how": gap.healed_how,
    }
    insert = pg.insert(GAPS).values(values)
    # The same heights may have been healed before: a ledger that lost its lines has them to lose again.
    connection.execute(insert.on_conflict_do_update(index_elements=list(GAPS.primary_key.columns), set_=values))


def _now(connection: sa.Connection) -> datetime:
    return connection.execute(sa.select(sa.func.now())).scalar_one()
