"""Which rows concern the target set: those by a target, and those that reply to, react to, link to or mention one."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.tables.columns import ColumnType, DataTable
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = [
    "NOT_TARGET",
    "always_kept",
    "concerned_fids",
    "concerning",
    "distinct",
    "is_concerned",
    "is_concerned_before",
    "is_member",
    "without_holder",
]

Fids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NOT_TARGET: Final = "not_target"


def concerning(table: DataTable, *, mentions: bool) -> tuple[str, ...]:
    """The columns with the FIDs that a row of the table concerns."""
    return tuple(name for name in table.concerns if mentions or name != "mentions")


def always_kept(table: DataTable, rows: pa.Table) -> Mask:
    """Rows that are kept for all users, because they decide over rows that may still come."""
    if table.decisive_tombstones is None:
        return np.zeros(len(rows), np.bool_)
    return _plain(pc.equal(rows["deleted_reason"], pa.scalar(table.decisive_tombstones)))


def _kept_for_all(table: DataTable, rows: pa.Table) -> Mask:
    """Rows that are nobody's in particular."""
    if table.kept_for_all is None:
        return np.full(len(rows), not table.concerns)
    column, value = table.kept_for_all
    return _plain(pc.equal(rows[column], pa.scalar(value)))


def _plain(mask: Any) -> Mask:
    return pc.fill_null(mask, False).to_numpy().astype(np.bool_)


def _columns(table: DataTable, rows: pa.Table, *, mentions: bool) -> Iterator[tuple[Fids, npt.NDArray[np.int64]]]:
    """Per column FIDs that rows name, and the places of these rows."""
    for name in concerning(table, mentions=mentions):
        if table.keyed_fid is not None and name == table.keyed_fid.column:
            yield table.keyed_fid.in_arrow(rows[table.keyed_fid.key])
            continue
        column = rows[name].combine_chunks()
        if next(c for c in table.columns if c.name == name).type is ColumnType.BIGINTS:
            places = pc.list_parent_indices(column).to_numpy()
            yield pc.list_flatten(column).to_numpy(), places.astype(np.int64)
        else:
            places = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
            yield column.drop_null().to_numpy(), places


def concerned_fids(table: DataTable, rows: pa.Table, *, mentions: bool) -> list[Fids]:
    """All FIDs that these rows concern, in any order, repeated as they are."""
    return [fids for fids, _ in _columns(table, rows, mentions=mentions)]


def is_concerned(table: DataTable, rows: pa.Table, members: Fids, *, mentions: bool) -> Mask:
    """Which rows concern one of `members`, a sorted array, or are kept for all users."""
    found = _kept_for_all(table, rows)
    for fids, places in _columns(table, rows, mentions=mentions):
        found[places[is_member(fids, members)]] = True
    return found


def is_concerned_before(
    table: DataTable, rows: pa.Table, members: Fids, last_versions: npt.NDArray[np.int64], *, mentions: bool
) -> Mask:
    """Which rows concern one of `members`, a sorted array, and are older than what `last_versions` has in its place."""
    found = np.zeros(len(rows), np.bool_)
    if not len(members):
        return found
    versions = rows["version"].to_numpy()
    for fids, places in _columns(table, rows, mentions=mentions):
        is_one = is_member(fids, members)
        of = places[is_one]
        found[of[versions[of] < last_versions[np.searchsorted(members, fids[is_one])]]] = True
    return found


def is_member(fids: Fids, members: Fids) -> Mask:
    """Which of `fids` are in `members`, a sorted array."""
    if not len(members):
        return np.zeros(len(fids), np.bool_)
    at = np.minimum(np.searchsorted(members, fids), len(members) - 1)
    return members[at] == fids


def distinct(parts: Iterable[Fids]) -> Fids:
    """The FIDs of several arrays, each once, ascending."""
    given = list(parts)
    return np.unique(np.concatenate(given)) if given else np.zeros(0, np.int64)


def without_holder(rows: pa.Table) -> pa.Table:
    """Rows of `username_proofs` as tombstones that say only since when a user who is no target holds the name.

    They keep an older proof of a target from coming back.
    """
    kept = {*USERNAME_PROOFS.key, *USERNAME_PROOFS.order}
    known: Mapping[str, Any] = {
        "deleted_at": rows["timestamp"],
        "deleted_reason": pa.array([NOT_TARGET] * len(rows), pa.string()),
    }
    arrays = [
        rows[column.name]
        if column.name in kept
        else known[column.name]
        if column.name in known
        else pa.nulls(len(rows)).cast(column.type.arrow)
        for column in USERNAME_PROOFS.columns
    ]
    return pa.Table.from_arrays(arrays, schema=USERNAME_PROOFS.arrow_schema)
