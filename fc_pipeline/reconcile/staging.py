"""What a fold of snapshots puts into its temporary tables beside the rows themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from fc_pipeline.heights import HeightRange
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.reconcile.records import RowlessRecord

__all__ = [
    "FidSnapshot",
    "Heads",
    "comparable_lines",
    "fid_lines",
    "head_lines",
    "leaf_list_lines",
    "names_asked_lines",
    "rowless_lines",
    "snapshot_lines",
]


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


def comparable_lines(comparable: Mapping[int, frozenset[str]]) -> pa.Table:
    """Per FID the tables in which every difference is drift → the rows of `stage_comparable`."""
    lines = [(fid, name) for fid, names in comparable.items() for name in sorted(names)]
    return pa.table(
        {
            "fid": pa.array([fid for fid, _ in lines], pa.int64()),
            "table_name": pa.array([name for _, name in lines], pa.string()),
        }
    )


def rowless_lines(rowless: Sequence[RowlessRecord]) -> pa.Table:
    """Records that became no row → the rows of `stage_rowless`."""
    return pa.table(
        {
            "fid": pa.array([one.fid for one in rowless], pa.int64()),
            "table_name": pa.array([one.table for one in rowless], pa.string()),
            "hash": pa.array([one.hash for one in rowless], pa.binary()),
        }
    )


def names_asked_lines(names_asked: Sequence[tuple[int, str]]) -> pa.Table:
    """FIDs and names asked for by name → the rows of `stage_names_asked`."""
    return pa.table(
        {
            "fid": pa.array([fid for fid, _ in names_asked], pa.int64()),
            "name": pa.array([name for _, name in names_asked], pa.string()),
        }
    )


def fid_lines(fids: Sequence[int]) -> pa.Table:
    """FIDs → the rows of `stage_keys_read` and `stage_leaves_known`."""
    return pa.table({"fid": pa.array(fids, pa.int64())})


def leaf_list_lines(lists: Sequence[tuple[int, int | None, int]]) -> pa.Table:
    """FID, shard and type byte of whole lists of leaves → the rows of `stage_leaf_lists`."""
    return pa.table(
        {
            "fid": pa.array([fid for fid, _, _ in lists], pa.int64()),
            "shard": pa.array([shard for _, shard, _ in lists], pa.int32()),
            "type_byte": pa.array([type_byte for _, _, type_byte in lists], pa.int32()),
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
