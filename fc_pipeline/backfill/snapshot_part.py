"""Loads the stored snapshots of a bucket's users into tables without indexes: the newest of each.

Rows are what folding the same snapshots makes of them (reconcile.records). Nothing is compared: there is nothing yet.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from types import TracebackType
from typing import Final, Self, cast

import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.backfill.grouping import groups_of_lines
from fc_pipeline.bulk_load.app_fids import AppFids
from fc_pipeline.bulk_load.copying import load, merge_rows
from fc_pipeline.bulk_load.emptying import COPIED_TABLES
from fc_pipeline.bulk_load.part_end import finish_part, write_quarantined
from fc_pipeline.bulk_load.stages import CONTRACTS_STAGE, MESSAGES_STAGE
from fc_pipeline.fold.micro_batch import last_per_key
from fc_pipeline.lake.snapshot_log import Heads, SnapshotLog
from fc_pipeline.reconcile.records import SnapshotRows, snapshot_rows
from fc_pipeline.store.bulk_load import LoadPart
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.session import make_engine
from fc_pipeline.store.snapshot_ledger import SnapshotLine, lines
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.other_leaves import LEND_BYTE, OTHER_LEAVES
from fc_pipeline.tables.registry import ATTRIBUTED_TABLES, LISTED_TABLES
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = ["SnapshotLoader", "SnapshotTask"]

_FIRST_KINDS: Final = pa.array([ON_CHAIN_EVENTS.name, GASLESS_KEYS.name, USERNAME_PROOFS.name])
"""What comes before messages: keys say by which app these were signed."""
_NOTE_FOLDED: Final = (
    "UPDATE pipeline.snapshots SET folded_version = version, folded_file = file, folded_at = now(), "
    "folded_run_id = $1, folded_until_id = until_id, leaves_versions = CASE WHEN fid = ANY "
    "(string_to_array($4, ',')::bigint[]) THEN string_to_array($5, ',')::bigint[] END "
    "WHERE fid = ANY (string_to_array($2, ',')::bigint[]) AND bucket = $3::integer"
)


@dataclass(frozen=True)
class SnapshotTask:
    """Where the snapshots lie, and where their rows go."""

    lake_uri: str
    libpq_url: str = field(repr=False)
    run_id: str


class SnapshotLoader:
    """One process's session and its look at the lake."""

    def __init__(self, task: SnapshotTask) -> None:
        self._task = task
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Open both. Raises LakeError, PostgresError."""
        self._log = SnapshotLog.open(self._task.lake_uri)
        self._engine = make_engine(self._task.libpq_url)
        self._opened.callback(self._engine.dispose)
        self._session = WriterSession(self._task.libpq_url, self._task.run_id)
        self._session.open_through_faults()
        self._opened.callback(self._session.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both."""
        self._opened.close()

    def load(self, stage: str, part: LoadPart) -> int:
        """Load the users of a bucket; how many records were read. Raises FcPipelineError."""
        with self._engine.connect() as connection:
            stored = lines(connection, [part.first_fid])
        return self._session.retried_transaction(lambda: self._load(stage, part, stored))

    def _load(self, stage: str, part: LoadPart, stored: Sequence[SnapshotLine]) -> int:
        started = time.monotonic()
        hold_schema(self._session.execute, while_loading=True)
        records = 0
        for group in groups_of_lines(stored):
            found, heads = self._read(stage, group)
            records += found.records
            self._write(found, heads, [line.fid for line in group])
            if stage == MESSAGES_STAGE:
                self._note_folded(part.first_fid, group, found, heads)
        finish_part(self._session, stage, part, records, started)
        return records

    def _read(self, stage: str, group: Sequence[SnapshotLine]) -> tuple[SnapshotRows, Heads]:
        """The rows of a group: of what comes first, or of all else."""
        by_file: defaultdict[str, list[int]] = defaultdict(list)
        for line in group:
            by_file[line.file].append(line.fid)
        batches = [batch for path, fids in by_file.items() for batch in self._log.read(path, fids)]
        table = pa.Table.from_batches(batches)
        comes_first = pc.is_in(table["kind"], value_set=_FIRST_KINDS)
        wanted = table.filter(comes_first if stage == CONTRACTS_STAGE else pc.invert(comes_first)).combine_chunks()
        (batch,) = wanted.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        return snapshot_rows(batch), reduce(or_, map(self._log.heads, by_file))

    def _write(self, found: SnapshotRows, heads: Heads, fids: Sequence[int]) -> None:
        apps = AppFids.of_fids(self._session, fids)
        for name, rows in found.rows.items():
            table = LISTED_TABLES[name]
            once = last_per_key(rows, table)  # a record that changed while its list was read is there twice
            if name in COPIED_TABLES:
                load(self._session, table, apps.added(once) if table in ATTRIBUTED_TABLES else once)
            else:
                merge_rows(self._session, table, once)
        load(self._session, OTHER_LEAVES, last_per_key(_of_every_shard(found.leaves, heads), OTHER_LEAVES))
        for shard, several in found.quarantined.items():
            write_quarantined(self._session, shard, several)

    def _note_folded(self, bucket: int, group: Sequence[SnapshotLine], found: SnapshotRows, heads: Heads) -> None:
        versions = ",".join(str(heads.before[shard]) for shard in sorted(heads.before))
        fids = ",".join(str(line.fid) for line in group)
        known = ",".join(map(str, found.leaves_known))
        self._session.execute(_NOTE_FOLDED, (self._task.run_id, fids, bucket, known, versions))


def _of_every_shard(leaves: pa.Table, heads: Heads) -> pa.Table:
    """Leaves as the shards have them: of lends, which a node lists once, each shard has its own."""
    is_lend = pa.array([leaf[0] == LEND_BYTE for leaf in cast("list[bytes]", leaves["leaf"].to_pylist())], pa.bool_())
    lends = leaves.filter(is_lend)
    if not len(lends):
        return leaves
    parts = [leaves.filter(pc.invert(is_lend)), *_copies(lends, heads)]
    return pa.concat_tables(parts)


def _copies(lends: pa.Table, heads: Heads) -> Iterator[pa.Table]:
    for shard, version in sorted(heads.before.items()):
        copy = lends
        for name, value in (("shard", shard), ("version", version)):
            place = copy.schema.get_field_index(name)
            field_of = copy.schema.field(place)
            copy = copy.set_column(place, field_of, pa.array([value] * len(lends), field_of.type))
        yield copy
