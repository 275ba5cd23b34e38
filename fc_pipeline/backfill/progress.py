"""What a backfill has done, per bucket and in all, and the estimated time for the rest."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fc_pipeline.hub.snapshot import CONTRACTS_FID
from fc_pipeline.lake.snapshot_log import bucket_of
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.store.snapshot_ledger import SnapshotLine

__all__ = ["BackfillOutcome", "BackfillProgress", "BucketProgress", "duration"]


@dataclass(slots=True)
class BucketProgress:
    """One bucket of the run. `unread` are FIDs that no hub could answer for, with the reason."""

    bucket: int
    fids: int = 0
    fids_left: int = 0
    fids_fetched: int = 0
    fids_folded: int = 0
    requests: int = 0
    records: int = 0
    unread: dict[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True)
class BackfillOutcome:
    """What finished backfills did, in numbers; `drift` counts rows per table.

    `uncovered_fids` are those of the `reconciled_fids` whose history is not covered, `unknown_fids` users of whom the
    hub has no record at all; `equal_fids` users who are equal by hash and were not read.
    """

    fids: int = 0
    requests: int = 0
    records: int = 0
    rows_written: int = 0
    drift: Mapping[str, int] = field(default_factory=dict[str, int])
    quarantined: int = 0
    reconciled_fids: int = 0
    uncovered_fids: int = 0
    unknown_fids: tuple[int, ...] = ()
    equal_fids: int = 0

    def __add__(self, other: "BackfillOutcome") -> "BackfillOutcome":
        return BackfillOutcome(
            self.fids + other.fids,
            self.requests + other.requests,
            self.records + other.records,
            self.rows_written + other.rows_written,
            Counter(self.drift) + Counter(other.drift),
            self.quarantined + other.quarantined,
            self.reconciled_fids + other.reconciled_fids,
            self.uncovered_fids + other.uncovered_fids,
            (*self.unknown_fids, *other.unknown_fids),
            self.equal_fids + other.equal_fids,
        )

    def figures(self) -> dict[str, Any]:
        """The same as JSON takes it; `of_figures` reads it."""
        return msgspec.to_builtins(self)

    @classmethod
    def of_figures(cls, figures: Mapping[str, Any]) -> "BackfillOutcome":
        """What `figures` gave. Raises msgspec.ValidationError for something else."""
        return msgspec.convert(dict(figures), cls)


@dataclass
class BackfillProgress:
    """All buckets together; `requests` also counts those that are of no FID. `clock` gives monotonic seconds.

    `unknown_fids` are FIDs that were folded although the hub has no record of them, `equal_fids` more users, who are
    equal by hash and need not be read.
    """

    clock: Callable[[], float] = time.monotonic
    buckets: dict[int, BucketProgress] = field(default_factory=dict[int, BucketProgress])
    requests: int = 0
    reconciled: Reconciled = field(default_factory=Reconciled)
    unknown_fids: list[int] = field(default_factory=list[int])
    equal_fids: int = 0

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.clock() - self._started

    @property
    def fids(self) -> int:
        """All FIDs of the run."""
        return sum(bucket.fids for bucket in self.buckets.values())

    @property
    def fids_left(self) -> int:
        """Those that are not done."""
        return sum(bucket.fids_left for bucket in self.buckets.values())

    @property
    def records(self) -> int:
        """Records fetched."""
        return sum(bucket.records for bucket in self.buckets.values())

    @property
    def unread(self) -> dict[int, str]:
        """FIDs that no hub could answer for, with the reason."""
        return {fid: reason for bucket in self.buckets.values() for fid, reason in bucket.unread.items()}

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds for the rest at the pace so far; None while nothing is done."""
        done = self.fids - self.fids_left
        return self.seconds / done * self.fids_left if done else None

    def expect(self, bucket: int, fids: int) -> None:
        """A bucket of the run, with so many FIDs to do."""
        self.buckets[bucket] = BucketProgress(bucket, fids, fids)

    def add_fetched(self, snapshots: Iterable[SnapshotLine]) -> None:
        """FIDs whose records are in the lake."""
        for one in snapshots:
            bucket = self.buckets[one.bucket]
            bucket.fids_fetched += 1
            bucket.requests += one.requests
            bucket.records += one.records

    def add_folded(self, snapshots: Collection[SnapshotLine], folded: Reconciled) -> None:
        """FIDs whose records are in the tables."""
        for one in snapshots:
            self.buckets[one.bucket].fids_folded += 1
            if not one.records and one.fid != CONTRACTS_FID:
                self.unknown_fids.append(one.fid)
        self.reconciled += folded

    def finish(self, fids: Iterable[int]) -> list[int]:
        """Mark these FIDs as done; returns the buckets that this completes."""
        ended: list[int] = []
        for fid in fids:
            bucket = self.buckets[bucket_of(fid)]
            bucket.fids_left -= 1
            if not bucket.fids_left:
                ended.append(bucket.bucket)
        return ended

    def outcome(self) -> BackfillOutcome:
        """What is done so far."""
        return BackfillOutcome(
            self.fids,
            self.requests,
            self.records,
            sum(written.rows for written in self.reconciled.written.values()),
            dict(self.reconciled.drift),
            self.reconciled.quarantined,
            self.reconciled.fids,
            self.reconciled.uncovered_fids,
            tuple(self.unknown_fids),
            self.equal_fids,
        )

    def line(self) -> str:
        """One line for a log."""
        done = self.fids - self.fids_left
        left, messages = self.seconds_left, self.reconciled.messages
        parts = [
            f"{done:,} of {self.fids:,} FIDs",
            f"{self.requests:,} requests",
            f"{self.records:,} records fetched",
            f"{messages:,} folded ({messages / max(self.seconds, 0.001):,.0f}/s)",
        ]
        if self.equal_fids:
            parts.append(f"{self.equal_fids:,} users equal by hash")
        if left is not None and self.fids_left:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """For people: hours, minutes or seconds, as fits."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
