"""Contract events by parts of FIDs, and names and gasless keys shard by shard: what comes before any message.

Keys say by which app messages were signed, and names' leaves are needed by user.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from fc_pipeline.bootstrap.message_rows import version_of
from fc_pipeline.bulk_load.copying import ROWS_AT_A_TIME, load, merge_rows
from fc_pipeline.bulk_load.part_end import finish_part, write_quarantined
from fc_pipeline.bulk_load.stages import CONTRACTS_STAGE
from fc_pipeline.fold.quarantine import Quarantined, has_nul, nul_note, reason_of, strip_nul
from fc_pipeline.hub.decode import DECODE_ERRORS
from fc_pipeline.hub.wire import MergeUsernameProofBody, OnChainEvent
from fc_pipeline.node_db import keys
from fc_pipeline.node_db.database import NodeShard
from fc_pipeline.node_db.keys import FidRange
from fc_pipeline.node_db.records import contract_event_json, decoded, gasless_key, name_proof
from fc_pipeline.proof.leaf_keys import FNAME_BYTES, fname_leaf
from fc_pipeline.store.bulk_load import LoadPart, LoadShard
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables import gasless_keys, on_chain_events, username_proofs
from fc_pipeline.tables.columns import DataTable, Row
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = ["NAMES_STAGE", "ContractLoader", "NameLoader"]

NAMES_STAGE: Final = "names"
_STAGED_LEAVES: Final = "stage_name_leaves"
_CREATE_STAGED_LEAVES: Final = (
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGED_LEAVES} (shard integer, fid bigint, leaf bytea) "
    "ON COMMIT DELETE ROWS"
)
_KEEP_LEAVES: Final = (
    f"INSERT INTO pipeline.bulk_load_names (shard, fid, leaf) SELECT shard, fid, leaf FROM {_STAGED_LEAVES} "
    "ON CONFLICT DO NOTHING"
)


@dataclass
class ContractLoader:
    """Loads the contract events of parts of a shard."""

    node: NodeShard
    shard: LoadShard
    session: WriterSession

    def load(self, part: LoadPart) -> int:
        """Load a part in one transaction, unless another process has; how many events were read."""
        return self.session.retried_transaction(lambda: self._load(part))

    def _load(self, part: LoadPart) -> int:
        started = time.monotonic()
        hold_schema(self.session.execute, while_loading=True)
        version = version_of(self.shard.height)
        rows: list[Row] = []
        quarantined: list[Quarantined] = []
        records = 0
        for fid, raw in self._events(FidRange(part.first_fid, part.end_fid)):
            records += 1
            stored = strip_nul(raw) if has_nul(raw) else raw
            try:
                rows.append(on_chain_events.merged(decoded(stored, OnChainEvent), version))
            except (ValueError, *DECODE_ERRORS) as error:
                quarantined.append(Quarantined(version, reason_of(error), str(error), raw, ON_CHAIN_EVENTS.name, fid))
            else:
                if stored is not raw and stored != raw:
                    quarantined.append(nul_note(version, raw, ON_CHAIN_EVENTS.name, fid))
            if len(rows) >= ROWS_AT_A_TIME:
                load(self.session, ON_CHAIN_EVENTS, ON_CHAIN_EVENTS.arrow(rows))
                rows.clear()
        load(self.session, ON_CHAIN_EVENTS, ON_CHAIN_EVENTS.arrow(rows))
        write_quarantined(self.session, part.shard, quarantined)
        finish_part(self.session, CONTRACTS_STAGE, part, records, started)
        return records

    def _events(self, fids: FidRange) -> Iterator[tuple[int, bytes]]:
        for kind in keys.CONTRACT_TYPES:
            prefix = keys.CONTRACT_EVENTS + bytes((kind,))
            for key, value in self.node.rows(fids.bounds(prefix)):
                yield keys.fid_of(key, prefix), contract_event_json(value)


@dataclass
class NameLoader:
    """Loads the names and gasless keys of a shard: several shards have the same ones, and the newest proof counts."""

    node: NodeShard
    shard: LoadShard
    session: WriterSession

    def load(self, part: LoadPart) -> int:
        """Load all of them, some at a time: what was loaded before is not changed by coming again."""
        started = time.monotonic()
        records = self._load_names() + self._load_keys()

        def finish() -> None:
            hold_schema(self.session.execute, while_loading=True)
            finish_part(self.session, NAMES_STAGE, part, records, started)

        self.session.retried_transaction(finish)
        return records

    def _load_names(self) -> int:
        version = version_of(self.shard.height)
        records = 0
        rows: list[Row] = []
        leaves: list[tuple[int, bytes]] = []
        refused: list[Quarantined] = []
        for key, value in self.node.rows(keys.below(keys.NAMES)):
            records += 1
            try:
                proof = name_proof(value)
                rows.append(username_proofs.proved(MergeUsernameProofBody(proof), version, 0))
            except ValueError as error:
                refused.append(Quarantined(version, reason_of(error), str(error), value, USERNAME_PROOFS.name, None))
                continue
            if proof.fid and len(key) - len(keys.NAMES) <= FNAME_BYTES:
                leaves.append((proof.fid, fname_leaf(proof.name)))
            if len(rows) >= ROWS_AT_A_TIME:
                self._write(USERNAME_PROOFS, rows, leaves, refused)
        self._write(USERNAME_PROOFS, rows, leaves, refused)
        return records

    def _load_keys(self) -> int:
        version = version_of(self.shard.height)
        read_at = int(self.shard.block_at.timestamp()) * 1_000_000
        records = 0
        rows: list[Row] = []
        refused: list[Quarantined] = []
        for key, record in self.node.rows(keys.below(keys.GASLESS_KEYS)):
            records += 1
            used = self.node.get(keys.KEY_LAST_USED + key[len(keys.GASLESS_KEYS) :])
            try:
                rows.append(gasless_keys.listed(gasless_key(record, used), version, read_at))
            except ValueError as error:
                fid = keys.fid_of(key, keys.GASLESS_KEYS)
                refused.append(Quarantined(version, reason_of(error), str(error), record, GASLESS_KEYS.name, fid))
            if len(rows) >= ROWS_AT_A_TIME:
                self._write(GASLESS_KEYS, rows, [], refused)
        self._write(GASLESS_KEYS, rows, [], refused)
        return records

    def _write(
        self, table: DataTable, rows: list[Row], leaves: list[tuple[int, bytes]], refused: list[Quarantined]
    ) -> None:
        """Write rows in one transaction, and empty the lists."""

        def write() -> None:
            hold_schema(self.session.execute, while_loading=True)
            merge_rows(self.session, table, table.arrow(rows))
            self.session.execute(_CREATE_STAGED_LEAVES)
            self.session.copy(_STAGED_LEAVES, _leaf_lines(self.shard.shard, leaves))
            self.session.execute(_KEEP_LEAVES)
            write_quarantined(self.session, self.shard.shard, refused)

        self.session.retried_transaction(write)
        for held in (rows, leaves, refused):
            held.clear()


def _leaf_lines(shard: int, leaves: list[tuple[int, bytes]]) -> pa.Table:
    return pa.table(
        {
            "shard": pa.array([shard] * len(leaves), pa.int32()),
            "fid": pa.array([fid for fid, _ in leaves], pa.int64()),
            "leaf": pa.array([leaf for _, leaf in leaves], pa.binary()),
        }
    )
