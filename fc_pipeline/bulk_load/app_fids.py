"""By which app each message was signed: the apps of users' keys, as `signers` has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.columns import ArrowArray
from fc_pipeline.tables.message import APP_FID

__all__ = ["AppFids"]

_NAMED: Final = (
    "SELECT k.fid, k.key, k.app_fid FROM public.signers AS k WHERE k.app_fid IS NOT NULL AND octet_length(k.key) = 32"
)
_OF_RANGE: Final = f"{_NAMED} AND k.fid >= $1::bigint AND k.fid < $2::bigint"
_OF_FIDS: Final = f"{_NAMED} AND k.fid = ANY (string_to_array($1, ',')::bigint[])"
_KEY_BYTES: Final = 32
_PAIR: Final = pa.binary(8 + _KEY_BYTES)


@dataclass(frozen=True, slots=True)
class AppFids:
    """FID and key side by side, and the app of each."""

    pairs: ArrowArray
    apps: ArrowArray

    @classmethod
    def of_range(cls, session: WriterSession, first: int, end: int) -> Self:
        """Those of the FIDs from one on and below another. FIDs above 32 bits, of which there are none, have no app."""
        return cls._of(session.execute(_OF_RANGE, (first, end)))

    @classmethod
    def of_fids(cls, session: WriterSession, fids: Sequence[int]) -> Self:
        """Those of some FIDs."""
        return cls._of(session.execute(_OF_FIDS, (",".join(map(str, fids)),)))

    @classmethod
    def _of(cls, rows: Sequence[tuple[Any, ...]]) -> Self:
        pairs = [fid.to_bytes(8, "little") + bytes(key) for fid, key, _ in rows]
        return cls(pa.array(pairs, _PAIR), pa.array([app for _, _, app in rows], pa.int64()))

    def added(self, rows: pa.Table) -> pa.Table:
        """Rows with the column `app_fid`."""
        place = rows.schema.get_field_index(APP_FID.name)
        signers = rows["signer"].combine_chunks()
        if not len(self.pairs):
            return rows
        keys: list[bytes | None] = signers.to_pylist()
        is_known = np.fromiter((key is not None and len(key) == _KEY_BYTES for key in keys), np.bool_, len(keys))
        placed = np.flatnonzero(is_known)
        fids = rows["fid"].combine_chunks().to_numpy()[placed]
        found = pc.index_in(_pairs(fids, [keys[place] or b"" for place in placed.tolist()]), value_set=self.pairs)
        of_known = self.apps.take(found)
        apps = of_known.take(_places(placed, len(rows)))
        return rows.set_column(place, rows.schema.field(place), apps)


def _pairs(fids: npt.NDArray[np.int64], signers: Sequence[bytes]) -> Any:
    """FID and key of each row side by side."""
    joined = np.empty((len(fids), 8 + _KEY_BYTES), np.uint8)
    joined[:, :8] = fids.astype("<i8").view(np.uint8).reshape(-1, 8)
    joined[:, 8:] = np.frombuffer(b"".join(signers), np.uint8).reshape(-1, _KEY_BYTES)
    buffer = pa.py_buffer(np.ascontiguousarray(joined).data)
    return pa.FixedSizeBinaryArray.from_buffers(_PAIR, len(fids), [None, buffer])


def _places(placed: npt.NDArray[np.int64], count: int) -> Any:
    """For each of so many rows its place among those that have a key; null for others."""
    places = np.full(count, -1, np.int64)
    places[placed] = np.arange(len(placed))
    return pa.array(places, type=pa.int64(), mask=places < 0)
