"""Reads the FIDs of a part from a shard's database, and loads their rows and digests in one transaction."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final

import pyarrow as pa

from fc_pipeline.bootstrap.fid_leaves import FidLeaves, ProvedFid
from fc_pipeline.bootstrap.message_rows import MessageRows, version_of
from fc_pipeline.bulk_load.app_fids import AppFids
from fc_pipeline.bulk_load.copying import ROWS_AT_A_TIME, load, merge_rows
from fc_pipeline.bulk_load.emptying import COPIED_TABLES
from fc_pipeline.bulk_load.part_end import finish_part, write_quarantined
from fc_pipeline.bulk_load.stages import MESSAGES_STAGE
from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.live_set.digests import digest_lines
from fc_pipeline.live_set.leaves import home_shard
from fc_pipeline.node_db import keys
from fc_pipeline.node_db.database import NodeShard
from fc_pipeline.node_db.keys import FID_SPACE, FidRange
from fc_pipeline.node_db.messages import StoredMessage, message_of
from fc_pipeline.node_db.records import gasless_key_hash
from fc_pipeline.node_db.stored_trie import StoredTrie
from fc_pipeline.proof.leaf_keys import (
    LEND_STORAGE_TYPE,
    MESSAGE_TYPE_SHIFT,
    MESSAGE_TYPES,
    contract_event_leaf,
    message_leaf,
)
from fc_pipeline.proof.protobuf import Malformed, bytes_in, last_fields, number_in
from fc_pipeline.store.bulk_load import LoadPart, LoadShard
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.registry import ATTRIBUTED_TABLES

__all__ = ["PartLoader"]

_KEY_ADD: Final = MESSAGE_TYPES["KEY_ADD"]
_NAMES: Final = (
    "SELECT fid, leaf FROM pipeline.bulk_load_names WHERE shard = $1::integer AND fid >= $2::bigint "
    "AND fid < $3::bigint"
)
_SHA_FIDS: Final = 4096


@dataclass
class PartLoader:
    """Loads parts of one shard. `versions` are those of all shards, by number."""

    node: NodeShard
    shard: LoadShard
    shard_count: int
    versions: list[int]
    session: WriterSession
    run_id: str
    trie: StoredTrie = field(init=False)

    def __post_init__(self) -> None:
        self.trie = StoredTrie(self.node)

    def load(self, part: LoadPart) -> int:
        """Load a part, unless another process has; how many records were read. Raises NodeDatabaseError."""
        return self.session.retried_transaction(lambda: self._load(part))

    def _load(self, part: LoadPart) -> int:
        started = time.monotonic()
        hold_schema(self.session.execute, while_loading=True)
        reading = _PartReading(self, FidRange(part.first_fid, part.end_fid))
        records = reading.load()
        finish_part(self.session, MESSAGES_STAGE, part, records, started)
        return records


class _PartReading:
    """One reading of a part."""

    def __init__(self, loader: PartLoader, fids: FidRange) -> None:
        self._loader = loader
        self._node, self._session = loader.node, loader.session
        self._shard = loader.shard.shard
        self._range = fids
        self._rows = MessageRows(loader.shard)
        self._live = FidLeaves(self._shard)
        self._names: list[tuple[int, bytes]] = []
        self._apps = AppFids.of_range(loader.session, fids.first, fids.end)
        self._records: dict[int, int] = {}

    def load(self) -> int:
        self._read_names()
        self._read_contract_events()
        self._read_gasless_keys()
        self._read_borrowed()
        self._read_messages()
        gone: set[tuple[int, bytes]] = set()
        proved: list[ProvedFid] = []
        for one in self._live.proved(self._loader.trie):
            proved.append(one)
            if one.told:
                self._rows.add_told_leaves(one.fid, list(one.told))
            gone.update((one.fid, leaf) for leaf in one.gone)
        for fid, leaf in self._names:
            if (fid, leaf) not in gone:
                self._rows.add_told_leaves(fid, [leaf])
        self._write()
        self._write_digests(proved)
        self._write_snapshots(proved)
        write_quarantined(self._session, self._shard, self._rows.take_quarantined())
        return sum(self._records.values())

    def _read_names(self) -> None:
        bounds = (self._shard, self._range.first, self._range.end)
        self._names = [(fid, bytes(leaf)) for fid, leaf in self._session.execute(_NAMES, bounds)]
        for fid, leaf in self._names:
            self._live.add(fid, leaf)

    def _read_contract_events(self) -> None:
        for kind in keys.CONTRACT_TYPES:
            prefix = keys.CONTRACT_EVENTS + bytes((kind,))
            for _, value in self._node.rows(self._range.bounds(prefix)):
                event = last_fields(value)
                leaf = contract_event_leaf(kind, bytes_in(event, 6), number_in(event, 7))
                self._count(number_in(event, 8), leaf)

    def _read_gasless_keys(self) -> None:
        for key, record in self._node.rows(self._range.bounds(keys.GASLESS_KEYS)):
            fid = keys.fid_of(key, keys.GASLESS_KEYS)
            leaf = message_leaf(_KEY_ADD, gasless_key_hash(record))
            self._count(fid, leaf)
            self._rows.add_told_leaves(fid, [leaf])

    def _read_borrowed(self) -> None:
        """The leaves of lends under their borrowers, which stand with their lenders."""
        for key, _ in self._node.rows(self._range.bounds(keys.BORROWERS)):
            borrower = keys.fid_of(key, keys.BORROWERS)
            lender = key[5:9]
            if lender == key[1:5]:
                continue
            for _, value in self._node.rows(keys.below(keys.MESSAGES + lender + bytes((keys.LENDS,)))):
                lend = message_of(value)
                body = lend.message.data.lendStorageBody if lend.message is not None else None
                if body is not None and body.toFid & (FID_SPACE - 1) == borrower:
                    self._live.add(body.toFid, message_leaf(LEND_STORAGE_TYPE, lend.hash))

    def _count(self, fid: int, leaf: bytes) -> None:
        self._live.add(fid, leaf)
        self._records[fid] = self._records.get(fid, 0) + 1

    def _read_messages(self) -> None:
        """Messages and compact states; over the index rows between them it leaps."""
        rows = self._node.seeking(self._range.bounds(keys.MESSAGES))
        owner, fid, is_home = b"", 0, False
        live_fids, live_leaves = self._live.fids, self._live.leaves
        while rows.is_at_row():
            key = rows.key()
            postfix = key[5]
            if postfix > keys.SETS[-1] and postfix != keys.COMPACT_STATES:
                if postfix < keys.COMPACT_STATES:
                    rows.leap(key[:5] + bytes((keys.COMPACT_STATES,)))
                else:
                    following = keys.fid_of(key, keys.MESSAGES) + 1
                    if following >= self._range.end:
                        break
                    rows.leap(keys.MESSAGES + following.to_bytes(4, "big"))
                continue
            value = rows.value()
            stored = self._read(key, value)
            if key[1:5] != owner or stored.fid != fid:
                self._require_owner(key, stored)
                owner, fid = key[1:5], stored.fid
                is_home = _home(fid, self._loader.shard_count) == self._shard
                self._records.setdefault(fid, 0)
            live_fids.append(fid)
            live_leaves.append(bytes((stored.number << MESSAGE_TYPE_SHIFT,)) + stored.hash)
            self._records[fid] += 1
            self._rows.add(fid, stored, value, is_home=is_home)
            if self._rows.pending >= ROWS_AT_A_TIME:
                self._write()
            rows.step()

    def _read(self, key: bytes, value: bytes) -> StoredMessage:
        try:
            return message_of(value)
        except Malformed as error:
            raise NodeDatabaseError(
                f"shard {self._shard}, FID {keys.fid_of(key, keys.MESSAGES)}: {error}",
                hint="the files are damaged or were changed: take another copy",
            ) from error

    def _require_owner(self, key: bytes, stored: StoredMessage) -> None:
        if stored.fid & (FID_SPACE - 1) != keys.fid_of(key, keys.MESSAGES):
            raise NodeDatabaseError(
                f"shard {self._shard}: a message of FID {stored.fid} among those of FID "
                f"{keys.fid_of(key, keys.MESSAGES)}",
                hint="the files are damaged or were changed: take another copy",
            )

    def _write(self) -> None:
        for table, rows in self._rows.take():
            if not len(rows):
                continue
            if table.name in COPIED_TABLES:
                load(self._session, table, self._apps.added(rows) if table in ATTRIBUTED_TABLES else rows)
            else:
                merge_rows(self._session, table, rows)

    def _write_digests(self, proved: list[ProvedFid]) -> None:
        self._session.copy_into("pipeline", "fid_digests", digest_lines([one.digest(self._shard) for one in proved]))

    def _write_snapshots(self, proved: list[ProvedFid]) -> None:
        """Note the users at home here as read at the files' height, with all their leaves."""
        loader = self._loader
        at_home = [one.fid for one in proved if home_shard(one.fid, loader.shard_count) == self._shard]
        count = len(at_home)
        version = version_of(loader.shard.height)
        micros = pa.timestamp("us", tz="UTC")
        read_at: list[datetime] = [loader.shard.block_at] * count
        self._session.copy_into(
            "pipeline",
            "snapshots",
            pa.table(
                {
                    "fid": pa.array(at_home, pa.int64()),
                    "shard": pa.array([self._shard] * count, pa.int32()),
                    "bucket": pa.array([fid % BUCKETS for fid in at_home], pa.int32()),
                    "version": pa.array([version] * count, pa.int64()),
                    "until_id": pa.array([version] * count, pa.int64()),
                    "file": pa.array([""] * count, pa.string()),
                    "records": pa.array([self._records.get(fid, 0) for fid in at_home], pa.int64()),
                    "requests": pa.array([0] * count, pa.int32()),
                    "fetched_at": pa.array(read_at, micros),
                    "run_id": pa.array([loader.run_id] * count, pa.string()),
                    "folded_version": pa.array([version] * count, pa.int64()),
                    "folded_file": pa.array([""] * count, pa.string()),
                    "folded_at": pa.array(read_at, micros),
                    "folded_run_id": pa.array([loader.run_id] * count, pa.string()),
                    "folded_until_id": pa.array([version] * count, pa.int64()),
                    "leaves_versions": pa.array([loader.versions] * count, pa.list_(pa.int64())),
                }
            ),
        )


@lru_cache(_SHA_FIDS)
def _home(fid: int, shard_count: int) -> int:
    return home_shard(fid, shard_count)
