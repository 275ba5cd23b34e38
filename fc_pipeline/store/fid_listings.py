"""Lists of FIDs, one per round of snapshots: taken once, kept by bucket, and read by each run for its own buckets.

A page of a hub's list is a row per bucket, so neither taking a list nor reading a bucket of it needs more memory than
that. A list lives as long as a round that goes by it can be resumed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.advisory_locks import LISTING_FIDS
from fc_pipeline.store.bookkeeping import FID_LISTINGS, LISTED_FIDS, SNAPSHOT_ROUNDS, SNAPSHOTS
from fc_pipeline.store.snapshot_ledger import RESUMABLE_FOR

__all__ = [
    "Listing",
    "RoundProgress",
    "add_known",
    "add_page",
    "assign",
    "begin",
    "fetched_by_bucket",
    "fids_of",
    "finished_buckets",
    "home_shard",
    "living",
    "living_of_rounds",
    "numbers_by_bucket",
    "progress",
    "wait_for_others",
]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of the FIDs of some buckets; several runs find it by its name."""

    id: int
    name: str | None
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RoundProgress:
    """How far all runs of a round together are; `fids` of which `fids_fetched` are in the lake."""

    fids: int
    fids_fetched: int
    requests: int


def home_shard(fid: str, shard_count: str) -> str:
    """SQL for the shard that holds an FID's messages (hub-api 7.7)."""
    return (
        f"(('x' || encode(substr(sha256(substr(int8send({fid}), 5)), 1, 4), 'hex'))::bit(32)::bigint "
        f"% {shard_count}) + 1"
    )


_ADD_PAGE: Final = sa.text(
    "INSERT INTO pipeline.listed_fids (listing, bucket, shard, page, fids) "
    "SELECT :listing, f.fid % 256, :shard, :page, array_agg(f.fid ORDER BY f.fid) "
    "FROM unnest(CAST(:fids AS bigint[])) AS f (fid) "
    "WHERE f.fid % 256 = ANY (CAST(:buckets AS integer[])) GROUP BY f.fid % 256"
)
_ADD_KNOWN: Final = sa.text(
    "INSERT INTO pipeline.listed_fids (listing, bucket, shard, page, fids) "
    "SELECT :listing, k.fid % 256, k.shard, 0, array_agg(k.fid ORDER BY k.fid) FROM (SELECT f.fid, "
    f"{home_shard('f.fid', 'CAST(:shard_count AS integer)')} AS shard FROM ("
    "SELECT fid FROM public.user_profiles UNION SELECT fid FROM pipeline.snapshots "
    "EXCEPT SELECT unnest(fids) FROM pipeline.listed_fids WHERE listing = :listing) AS f "
    "WHERE f.fid > 0 AND f.fid % 256 = ANY (CAST(:buckets AS integer[]))) AS k GROUP BY k.fid % 256, k.shard"
)


def wait_for_others(connection: sa.Connection) -> None:
    """Wait until nobody else is taking a list; until this transaction ends nobody begins."""
    connection.execute(sa.text(LISTING_FIDS.until_commit()))


def begin(connection: sa.Connection, name: str | None, buckets: Collection[int]) -> Listing:
    """Begin a list; those that nobody can use any more are dropped. To be called after `wait_for_others`."""
    usable = sa.select(FID_LISTINGS.c.id).where(_is_living())
    connection.execute(sa.delete(FID_LISTINGS).where(FID_LISTINGS.c.id.not_in(usable)))
    connection.execute(sa.delete(LISTED_FIDS).where(LISTED_FIDS.c.listing.not_in(sa.select(FID_LISTINGS.c.id))))
    made = sa.insert(FID_LISTINGS).values(name=name, buckets=sorted(buckets)).returning(FID_LISTINGS.c.id)
    return Listing(connection.execute(made).scalar_one(), name, tuple(sorted(buckets)))


def add_page(connection: sa.Connection, listing: Listing, shard: int, page: int, fids: Sequence[int]) -> None:
    """Keep what a hub lists of a shard; `page` counts from 1."""
    connection.execute(
        _ADD_PAGE,
        {
            "listing": listing.id,
            "shard": shard,
            "page": page,
            "fids": list(fids),
            "buckets": list(listing.buckets),
        },
    )


def add_known(connection: sa.Connection, listing: Listing, shard_count: int) -> None:
    """Add the FIDs that have a profile or a snapshot and that no hub lists any more."""
    connection.execute(
        _ADD_KNOWN, {"listing": listing.id, "shard_count": shard_count, "buckets": list(listing.buckets)}
    )


def _is_living(now: datetime | None = None) -> sa.ColumnElement[bool]:
    """Whether a list is young, or a run that goes by it has fetched something lately."""
    cutoff = (now or datetime.now(UTC)) - RESUMABLE_FOR
    active_runs = sa.select(SNAPSHOTS.c.run_id).where(SNAPSHOTS.c.fetched_at > cutoff)
    rounds = SNAPSHOT_ROUNDS.c
    used = sa.select(rounds.listing).where(rounds.listing.is_not(None), rounds.run_id.in_(active_runs))
    return sa.or_(FID_LISTINGS.c.listed_at > cutoff, FID_LISTINGS.c.id.in_(used))


def living(connection: sa.Connection, *, name: str | None = None, prefix: str | None = None) -> list[Listing]:
    """The lists that can be used, newest first, with this name or with names that begin so."""
    columns = FID_LISTINGS.c
    query = sa.select(columns.id, columns.name, columns.buckets).where(_is_living())
    if name is not None:
        query = query.where(columns.name == name)
    if prefix is not None:
        query = query.where(columns.name.startswith(prefix, autoescape=True))
    return [Listing(row[0], row[1], tuple(row[2])) for row in connection.execute(query.order_by(columns.id.desc()))]


def living_of_rounds(connection: sa.Connection, scope: str, begun: Mapping[int, datetime]) -> dict[int, int]:
    """Of rounds, by bucket and when each was begun: the ids of the lists that they go by, as far as they do."""
    rounds = SNAPSHOT_ROUNDS.c
    query = (
        sa.select(rounds.bucket, rounds.listing)
        .join(FID_LISTINGS, FID_LISTINGS.c.id == rounds.listing)
        .where(rounds.scope == scope, sa.tuple_(rounds.bucket, rounds.started_at).in_(list(begun.items())))
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def fetched_by_bucket(connection: sa.Connection, scope: str, begun: Mapping[int, datetime]) -> dict[int, int]:
    """How many FIDs are fetched of each of these rounds, by bucket."""
    rounds = SNAPSHOT_ROUNDS.c
    of_these = sa.tuple_(rounds.bucket, rounds.started_at).in_(list(begun.items()))
    rows = connection.execute(sa.select(rounds.bucket, rounds.fids).where(rounds.scope == scope, of_these))
    return {row[0]: row[1] for row in rows}


def assign(connection: sa.Connection, scope: str, begun: Mapping[int, datetime], listing: int) -> None:
    """Have rounds, by bucket and when each was begun, go by a list."""
    rounds = SNAPSHOT_ROUNDS.c
    of_these = sa.tuple_(rounds.bucket, rounds.started_at).in_(list(begun.items()))
    connection.execute(sa.update(SNAPSHOT_ROUNDS).where(rounds.scope == scope, of_these).values(listing=listing))


def finished_buckets(connection: sa.Connection, listing: int) -> set[int]:
    """The buckets of which a round that goes by the list is finished."""
    rounds = SNAPSHOT_ROUNDS.c
    query = sa.select(rounds.bucket).distinct()
    return set(connection.scalars(query.where(rounds.listing == listing, rounds.finished_at.is_not(None))))


def fids_of(connection: sa.Connection, listing: int, bucket: int) -> dict[int, int]:
    """The listed FIDs of a bucket, each with its shard."""
    columns = LISTED_FIDS.c
    query = sa.select(columns.shard, columns.fids).where(columns.listing == listing, columns.bucket == bucket)
    return {fid: shard for shard, fids in connection.execute(query.order_by(columns.page)) for fid in fids}


def numbers_by_bucket(connection: sa.Connection, listing: int, buckets: Collection[int]) -> dict[int, int]:
    """How many FIDs of each bucket are listed; more than there are, where one was listed twice."""
    columns = LISTED_FIDS.c
    query = sa.select(columns.bucket, sa.func.sum(sa.func.cardinality(columns.fids))).group_by(columns.bucket)
    rows = connection.execute(query.where(columns.listing == listing, columns.bucket.in_(list(buckets))))
    return {row[0]: int(row[1]) for row in rows}


def progress(connection: sa.Connection, listing: Listing, numbers: Mapping[int, int]) -> RoundProgress:
    """How far the round is that goes by a list, whoever works on it; `numbers` are those of `numbers_by_bucket`."""
    rounds = SNAPSHOT_ROUNDS.c
    query = sa.select(rounds.bucket, sa.func.sum(rounds.fids), sa.func.sum(rounds.requests)).group_by(rounds.bucket)
    rows = connection.execute(query.where(rounds.listing == listing.id)).all()
    finished = finished_buckets(connection, listing.id)
    fetched = sum(numbers.get(b, 0) if b in finished else min(int(f), numbers.get(b, 0)) for b, f, _ in rows)
    return RoundProgress(sum(numbers.values()), fetched, sum(int(row[2]) for row in rows))
