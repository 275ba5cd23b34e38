"""The FIDs of a backfill: those of buckets, or chosen ones, each with its shard."""

import hashlib
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

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

__all__ = ["BackfillScope", "ScopedFids", "buckets_named", "find_fids", "vet_hub"]

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
    """The FIDs with their shards, and how many requests it took to list them."""

    shards: dict[int, int]
    requests: int

    def of_shard(self, shard: int) -> frozenset[int]:
        """Those of one shard."""
        return frozenset(fid for fid, home in self.shards.items() if home == shard)


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
    shards = await hubs.shards()
    if replica.targets is not None and not scope.include_non_targets:
        return ScopedFids({fid: shard_of(fid, len(shards)) for fid in _targets(replica, scope)}, 0)
    if scope.fids is not None:
        chosen = [fid for fid in scope.fids if bucket_of(fid) in scope.buckets]
        return ScopedFids({fid: shard_of(fid, len(shards)) for fid in sorted(chosen)}, 0)
    with replica.engine.connect() as connection:
        known = known_fids(connection, scope.buckets, BUCKETS)
    if 0 in scope.buckets:
        known.add(CONTRACTS_FID)
    found = {fid: shard_of(fid, len(shards)) for fid in known}
    buckets = set(scope.buckets)
    requests = too_large = 0
    for shard in shards:
        async for page in hubs.fids(shard, FIDS_PAGE):
            requests += 1
            too_large += sum(fid > MAX_FID for fid in page)
            found.update((fid, shard) for fid in page if fid <= MAX_FID and bucket_of(fid) in buckets)
    if too_large:
        log.warning("fids_left_out count=%s reason='beyond 2^63, which no table can hold'", too_large)
    return ScopedFids(found, requests)


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
