"""What a fold of snapshots puts into its temporary tables beside the rows themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.reconcile.records import SetAside
from fc_pipeline.store.ledger import HeightRange

__all__ = ["FidSnapshot", "Heads", "head_lines", "judged_lines", "set_aside_lines", "snapshot_lines"]


@dataclass(frozen=True, slots=True)
class FidSnapshot:
    """A snapshot whose records are to be folded.

    Every event of the shard up to the id `version` is in it, none above `until_id`.
    """

    fid: int
    shard: int
    version: int
    until_id: int
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class Heads:
    """Per shard the event ids between which the snapshots were read."""

    before: Mapping[int, int]
    after: Mapping[int, int]

    @classmethod
    def of(
        cls, snapshots: Sequence[FidSnapshot], ids_before: Mapping[int, int], ids_after: Mapping[int, int]
    ) -> "Heads":
        """What is given per shard, else the snapshots' own."""
        before, after = dict(ids_before), dict(ids_after)
        for one in snapshots:
            if one.shard not in ids_before:
                before[one.shard] = min(before.get(one.shard, one.version), one.version)
            if one.shard not in ids_after:
                after[one.shard] = max(after.get(one.shard, one.until_id), one.until_id)
        return cls(before, after)


def snapshot_lines(snapshots: Sequence[FidSnapshot]) -> pa.Table:
    """Snapshots → the rows of `stage_snapshots`."""
    return pa.table(
        {
            "fid": pa.array([one.fid for one in snapshots], pa.int64()),
            "shard": pa.array([one.shard for one in snapshots], pa.int32()),
            "version": pa.array([one.version for one in snapshots], pa.int64()),
            "until_id": pa.array([one.until_id for one in snapshots], pa.int64()),
            "fetched_at": pa.array([one.fetched_at for one in snapshots], pa.timestamp("us", tz="UTC")),
        }
    )


def judged_lines(judged: Mapping[int, frozenset[str]]) -> pa.Table:
    """Per FID the tables in which every difference is drift → the rows of `stage_judged`."""
    lines = [(fid, name) for fid, names in judged.items() for name in sorted(names)]
    return pa.table(
        {
            "fid": pa.array([fid for fid, _ in lines], pa.int64()),
            "table_name": pa.array([name for _, name in lines], pa.string()),
        }
    )


def set_aside_lines(set_aside: Sequence[SetAside]) -> pa.Table:
    """Records that became no row → the rows of `stage_set_aside`."""
    return pa.table(
        {
            "fid": pa.array([one.fid for one in set_aside], pa.int64()),
            "table_name": pa.array([one.table for one in set_aside], pa.string()),
            "hash": pa.array([one.hash for one in set_aside], pa.binary()),
        }
    )


def head_lines(heads: Heads, folded: Mapping[int, HeightRange]) -> pa.Table:
    """Per shard the ids between which nothing is for certain → the rows of `stage_heads`.

    `folded` says of every shard from where to where the ledger goes.
    """
    shards = sorted(heads.before)
    top_ids = [first_event_id(folded[shard].last + 1) - 1 if shard in folded else 0 for shard in shards]
    return pa.table(
        {
            "shard": pa.array(shards, pa.int32()),
            "before_id": pa.array([heads.before[shard] for shard in shards], pa.int64()),
            "top_id": pa.array(top_ids, pa.int64()),
        }
    )
