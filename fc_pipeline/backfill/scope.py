"""The FIDs of a backfill: those of buckets, or chosen ones, each with its shard."""

import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Collection, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fc_pipeline.errors import ConfigError
from fc_pipeline.feed.continuity import resume_from_ledger
from fc_pipeline.feed.survey import survey
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.snapshot import CONTRACTS_FID, shard_of
from fc_pipeline.lake.snapshot_log import BUCKETS, bucket_of
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger
from fc_pipeline.store.snapshot_ledger import ALL_FIDS, known_fids
from fc_pipeline.targets import directory

__all__ = ["BackfillScope", "ScopedFids", "buckets_named", "find_fids", "listed_fids", "named_fids", "vet_hub"]

log = logging.getLogger(__name__)

FIDS_PAGE: Final = 10_000
MAX_FID: Final = 2**63 - 1
MAX_NAMED: Final = 10
_BUCKET_RANGE: Final = re.compile(
    r"\[?(?P<first>[0-9]{1,3})(?:\s*(?:-|\.\.\.?|…)\s*(?P<last>[0-9]{1,3}))?\]?", re.ASCII
)


@dataclass(frozen=True)
class BackfillScope:
    """Buckets, and of their FIDs all (None) or some; `label` names the scope, if its FIDs do not.

    With `include_non_targets`, chosen FIDs need not be targets where only these are replicated.
    """

    buckets: tuple[int, ...] = tuple(range(BUCKETS))
    fids: frozenset[int] | None = None
    label: str | None = None
    include_non_targets: bool = False

    @classmethod
    def of_fids(cls, fids: Collection[int]) -> "BackfillScope":
        """Some FIDs, wherever they are."""
        return cls(tuple(sorted({bucket_of(fid) for fid in fids})), frozenset(fids))

    @property
    def name(self) -> str:
        """What identifies rounds of the same scope: `all`, the label, or a digest of the FIDs."""
        if self.label is not None:
            return self.label
        if self.fids is None:
            return ALL_FIDS
        return hashlib.sha256(",".join(map(str, sorted(self.fids))).encode()).hexdigest()[:16]


def buckets_named(text: str) -> tuple[int, ...]:
    """The buckets of a list of numbers and ranges, such as `000...063, 200` or `0-15`; ascending, each once.

    Raises ConfigError for anything else.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = _BUCKET_RANGE.fullmatch(part.strip())
        first = int(match["first"]) if match else BUCKETS
        last = int(match["last"] or first) if match else BUCKETS
        if not first <= last < BUCKETS:
            raise ConfigError(
                f"{part.strip()!r} names no buckets",
                hint=f"a bucket is a number up to {BUCKETS - 1}, a range of them such as 000...063 or 0-15",
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))


@dataclass(frozen=True)
class ScopedFids:
    """The FIDs, each once and ascending, with their shards; and how many requests it took to list them."""

    fids: npt.NDArray[np.int64]
    shards: npt.NDArray[np.int32]
    requests: int

    @classmethod
    def of(cls, fids: Iterable[int], shard_count: int) -> "ScopedFids":
        """Chosen ones, each on its home shard."""
        chosen = np.unique(np.fromiter(fids, np.int64))
        return cls(chosen, np.array([shard_of(fid, shard_count) for fid in chosen.tolist()], np.int32), 0)

    def __len__(self) -> int:
        return len(self.fids)

    def of_shard(self, shard: int) -> frozenset[int]:
        """Those of one shard."""
        return frozenset(self.fids[self.shards == shard].tolist())

    def with_shards(self, buckets: Collection[int] | None = None) -> list[tuple[int, int]]:
        """Each with its shard; those of some buckets only."""
        fids, shards = self.fids, self.shards
        if buckets is not None:
            chosen = np.isin(fids % BUCKETS, list(buckets))
            fids, shards = fids[chosen], shards[chosen]
        return list(zip(fids.tolist(), shards.tolist(), strict=True))


async def vet_hub(replica: Replica, hubs: HubPool) -> None:
    """Raise HubError if no hub answers, HubUntrusted if none continues the history already read."""
    resume_from_ledger(replica, hubs)
    with replica.engine.connect() as connection:
        begun = bool(ledger.origins(connection))
    if begun:
        await survey(replica, hubs)
    else:
        await hubs.shards()


async def find_fids(replica: Replica, hubs: HubPool, scope: BackfillScope) -> ScopedFids:
    """The FIDs of a scope: for all of its buckets those that the hub lists and those that the replica knows.

    Where only targets are replicated, it is the targets of the scope. Otherwise bucket 0 also has the contracts' own
    FID. An FID beyond 2^63 fits no table: it is left out, and that is logged.
    """
    shard_count = len(await hubs.shards())
    named = named_fids(replica, scope)
    if named is not None:
        return ScopedFids.of(named, shard_count)
    buckets = list(scope.buckets)
    with replica.engine.connect() as connection:
        fids = [known_fids(connection, buckets, BUCKETS)]
    fids += [np.zeros(1, np.int64)] if CONTRACTS_FID in scope.buckets else []
    known_shards = ScopedFids.of(np.concatenate(fids).tolist(), shard_count)
    fids, shards = [known_shards.fids], [known_shards.shards]
    requests = 0
    async for shard, page in listed_fids(hubs):
        requests += 1
        of_page = np.array(page, np.int64)
        of_page = of_page[np.isin(of_page % BUCKETS, buckets)]
        fids.append(of_page)
        shards.append(np.full(len(of_page), shard, np.int32))
    every, first = np.unique(np.concatenate(fids)[::-1], return_index=True)  # what a hub says of a user's shard counts
    return ScopedFids(every, np.concatenate(shards)[::-1][first], requests)


def named_fids(replica: Replica, scope: BackfillScope) -> list[int] | None:
    """The FIDs that the scope names, or the targets in it, ascending; None where it is all that hubs list."""
    if replica.targets is not None and not scope.include_non_targets:
        return _targets(replica, scope)
    if scope.fids is None:
        return None
    return sorted(fid for fid in scope.fids if bucket_of(fid) in scope.buckets)


async def listed_fids(hubs: HubPool) -> AsyncGenerator[tuple[int, list[int]]]:
    """Page by page what the hub lists, each with its shard; without FIDs beyond 2^63, which is logged."""
    too_large = 0
    for shard in await hubs.shards():
        async for page in hubs.fids(shard, FIDS_PAGE):
            storable = [fid for fid in page if fid <= MAX_FID]
            too_large += len(page) - len(storable)
            yield shard, storable
    if too_large:
        log.warning("fids_left_out count=%s reason='beyond 2^63, which no table can hold'", too_large)


def _targets(replica: Replica, scope: BackfillScope) -> list[int]:
    """The targets of a scope, ascending; chosen FIDs that are none are left out, and that is logged."""
    with replica.engine.connect() as connection:
        found = [fid for fid in directory.target_fids(connection) if bucket_of(fid) in set(scope.buckets)]
    if scope.fids is None:
        return found
    others = scope.fids.difference(found)
    if others:
        named = ", ".join(map(str, sorted(others)[:MAX_NAMED]))
        log.warning("no_targets fids=%d: left out, such as %s", len(others), named)
    return [fid for fid in found if fid in scope.fids]
