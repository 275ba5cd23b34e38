"""A round over buckets that several workers share, on one machine or on more: who is at which bucket, and what is left.

The round goes by one list of users. A worker holds a lock in Postgres for each bucket that its run is over, which is
gone with its process; so nobody works twice, and what a killed worker leaves is free for the others.
"""

import asyncio
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from fc_pipeline.backfill.listing import take_listing
from fc_pipeline.backfill.scope import vet_hub
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.replica import Replica
from fc_pipeline.store import fid_listings
from fc_pipeline.store.advisory_locks import round_over
from fc_pipeline.store.fid_listings import Listing

__all__ = ["BucketClaims", "SharedRound", "join_or_begin", "left_of"]

_PREFIX: Final = "backfill:"
"""Of the names of lists of shared rounds."""


@dataclass(frozen=True, slots=True)
class SharedRound:
    """The round of a list; `is_joined` where it was begun before."""

    listing: Listing
    is_joined: bool


def join_or_begin(replica: Replica, buckets: Collection[int]) -> SharedRound:
    """The unfinished round over exactly these buckets that can still be taken up, or a new one.

    Of calls at the same time one begins it, and the others join. Raises HubError, PostgresError.
    """
    return asyncio.run(_join_or_begin(replica, tuple(sorted(buckets))))


async def _join_or_begin(replica: Replica, buckets: tuple[int, ...]) -> SharedRound:
    async with HubPool(replica.hub_endpoints) as hubs:
        await vet_hub(replica, hubs)
        with replica.engine.begin() as connection:
            await asyncio.to_thread(fid_listings.wait_for_others, connection)
            for one in fid_listings.living(connection, prefix=_PREFIX):
                if one.buckets == buckets and left_of(connection, one):
                    return SharedRound(one, is_joined=True)
            listing, _ = await take_listing(replica, hubs, connection, buckets, f"{_PREFIX}{uuid.uuid4().hex}")
        return SharedRound(listing, is_joined=False)


def left_of(connection: sa.Connection, listing: Listing) -> list[int]:
    """The buckets whose round is not finished."""
    finished = fid_listings.finished_buckets(connection, listing.id)
    return [bucket for bucket in listing.buckets if bucket not in finished]


@dataclass
class BucketClaims:
    """The buckets that one worker holds, through a session of its own; a bucket is claimed once by each worker."""

    engine: sa.Engine
    listing: Listing
    _held: list[int] = field(default_factory=list[int], init=False)
    _taken: set[int] = field(default_factory=set[int], init=False)

    def __enter__(self) -> Self:
        self._connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Locks end with the session, which a pool would keep.
        self._connection.invalidate()
        self._connection.close()

    def claim(self, most: int) -> Sequence[int]:
        """The first adjacent buckets that are not finished and that nobody else holds, so many at most; none: empty."""
        held: list[int] = []
        for bucket in left_of(self._connection, self.listing):
            is_next = not held or held[-1] + 1 == bucket
            if is_next and bucket not in self._taken and self._attempt(bucket):
                held.append(bucket)
            elif held:
                break
            if len(held) == most:
                break
        # Another worker may have finished one before it was held.
        left = set(left_of(self._connection, self.listing))
        span = _first_span([bucket for bucket in held if bucket in left])
        for bucket in held:
            if bucket not in span:
                self._unlock(bucket)
        if held and not span:
            return self.claim(most)
        self._held = list(span)
        self._taken.update(span)
        return span

    def release(self) -> None:
        """Let go of what was claimed last: it is finished. What failed is kept, so that no other worker fails on it."""
        for bucket in self._held:
            self._unlock(bucket)
        self._held = []

    def _attempt(self, bucket: int) -> bool:
        return bool(self._connection.scalar(sa.text(round_over(bucket).attempt())))

    def _unlock(self, bucket: int) -> None:
        self._connection.execute(sa.text(round_over(bucket).unlock()))


def _first_span(buckets: Sequence[int]) -> list[int]:
    span: list[int] = []
    for bucket in buckets:
        if span and span[-1] + 1 != bucket:
            break
        span.append(bucket)
    return span
