"""Stored messages of one shard → rows of the tables, as snapshots at the files' height bring them.

Every row's version is the highest event id of that block: whatever the feed brings later decides over it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import pyarrow as pa

from fc_pipeline.fold.quarantine import Quarantined, nul_note, reason_of, strip_nul
from fc_pipeline.hub.decode import DECODE_ERRORS
from fc_pipeline.hub.grpc_messages import message_json
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS, FIRST_SHARD, MergeUsernameProofBody, Message, first_event_id
from fc_pipeline.node_db.messages import StoredMessage
from fc_pipeline.proof.leaf_keys import MESSAGE_TYPES
from fc_pipeline.proof.protobuf import Malformed
from fc_pipeline.store.bulk_load import LoadShard
from fc_pipeline.tables import link_compactions, username_proofs
from fc_pipeline.tables.columns import DataTable, Row
from fc_pipeline.tables.encoding import UnknownValue
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.message import Adds, Deletion
from fc_pipeline.tables.message_set import MessageSet
from fc_pipeline.tables.other_leaves import OTHER_LEAVES, VERIFICATION_ADD_BYTE, leaf_rows, told_rows
from fc_pipeline.tables.registry import LISTED_TABLES, MESSAGE_SETS
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS

__all__ = ["MessageRows", "version_of"]

_ADDS: Final = {one.add_type: one for one in MESSAGE_SETS}
_REMOVES: Final = {one.remove_type: one for one in MESSAGE_SETS if one.remove_type}
_COMPACT_STATE: Final = "MESSAGE_TYPE_LINK_COMPACT_STATE"
_USERNAME_PROOF: Final = "MESSAGE_TYPE_USERNAME_PROOF"
_NUMBERS: Final = {f"MESSAGE_TYPE_{kind}": number for kind, number in MESSAGE_TYPES.items()}
_KINDS: Final = {number: kind for kind, number in _NUMBERS.items()}
_MESSAGE: Final = msgspec.json.Decoder(Message)
_LAST_SEQUENCE: Final = (1 << BLOCK_SEQUENCE_BITS) - 1
_MICROS: Final = 1_000_000


def version_of(height: int) -> int:
    """The highest event id that a block can have."""
    return first_event_id(height + 1) - 1


@dataclass
class MessageRows:
    """Rows on their way into the tables, taken out from time to time. Not for several threads at once."""

    shard: LoadShard
    _adds: dict[str, Adds] = field(default_factory=lambda: defaultdict(Adds), init=False)
    _added: dict[str, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list), init=False)
    _rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list), init=False)
    _leaves: list[Row] = field(default_factory=list[Row], init=False)
    _compactions: list[Row] = field(default_factory=list[Row], init=False)
    _compactions_of: dict[int, int] = field(default_factory=dict[int, int], init=False)
    _quarantined: list[Quarantined] = field(default_factory=list[Quarantined], init=False)
    pending: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._version = version_of(self.shard.height)
        self._seen = Deletion(int(self.shard.block_at.timestamp()) * _MICROS, "removed")
        self._is_first_shard = self.shard.shard == FIRST_SHARD

    def add(self, fid: int, stored: StoredMessage, value: bytes, *, is_home: bool) -> None:
        """Add what a message is in the tables; one that no table can hold goes into quarantine."""
        self.pending += 1
        try:
            message = self._without_nul(fid, stored, value) if stored.has_nul else stored.message
            if message is None:
                raise stored.refusal or ValueError("no message")
            self._sort(message, value, is_home=is_home)
        except ValueError as error:
            self._refuse(fid, stored.number, value, error)

    def add_told_leaves(self, fid: int, leaves: list[bytes]) -> None:
        """Add leaves of an FID that are no messages which the files have."""
        self._leaves += told_rows(self.shard.shard, fid, leaves, self._version)

    def _sort(self, message: Message, value: bytes, *, is_home: bool) -> None:
        kind = message.data.type
        one = _ADDS.get(kind)
        leaves = [
            row
            for row in leaf_rows(self.shard.shard, message, self._version)
            if not is_home or row[2][0] != VERIFICATION_ADD_BYTE
        ]
        if one is not None:
            if self._is_kept(one.table, is_home=is_home):
                one.add(self._adds[kind], message, self._version)
                self._added[kind].append((message.data.fid, value))
        elif (removing := _REMOVES.get(kind)) is not None and removing.removed is not None:
            if self._is_kept(removing.table, is_home=is_home):
                self._rows[removing.name].append(removing.removed(message, self._version, self._seen))
        elif kind == _COMPACT_STATE:
            self._compactions.append(self._compaction(message))
        elif kind == _USERNAME_PROOF:
            proved = MergeUsernameProofBody(message.data.usernameProofBody, None, message)
            self._rows[USERNAME_PROOFS.name].append(username_proofs.proved(proved, self._version, 0))
        else:
            raise UnknownValue(f"unknown message type {kind[:80]!r}")
        self._leaves += leaves

    def _is_kept(self, table: DataTable, *, is_home: bool) -> bool:
        """Whether this shard's copy of a message counts (protocol-tables 0, 5)."""
        return self._is_first_shard if table.is_of_one_shard else is_home

    def _compaction(self, message: Message) -> Row:
        """A compact state's row; each of an FID, one per link type, has a version of its own."""
        fid = message.data.fid
        place = self._compactions_of.get(fid, 0)
        self._compactions_of[fid] = place + 1
        return link_compactions.merged(message, self._version - min(place, _LAST_SEQUENCE), self._seen.deleted_at)

    def _without_nul(self, fid: int, stored: StoredMessage, value: bytes) -> Message:
        """The message without U+0000, which a note in quarantine keeps. Raises ValueError if it is none without."""
        raw = message_json(value)
        try:
            found = _MESSAGE.decode(strip_nul(raw))
        except DECODE_ERRORS as error:
            raise ValueError(str(error)) from error
        if found != stored.message:
            self._quarantined.append(nul_note(self._version, raw, _source_of(found.data.type), fid))
        return found

    def _refuse(self, fid: int, number: int, value: bytes, error: ValueError) -> None:
        try:
            raw = message_json(value)
        except Malformed:
            raw = value  # of a type that is not known
        source = _source_of(_KINDS.get(number, ""))
        self._quarantined.append(Quarantined(self._version, reason_of(error), str(error), raw, source, fid))

    def take(self) -> "Iterator[tuple[DataTable, pa.Table]]":
        """Take out all rows, table by table (Arrow, the schema of each), and begin anew."""
        tables: dict[str, list[pa.Table]] = {name: [LISTED_TABLES[name].arrow(r)] for name, r in self._rows.items()}
        for kind, adds in self._adds.items():
            one: MessageSet = _ADDS[kind]
            rows, reasons = one.rows_of(adds)
            for place, reason in reasons.items():
                fid, value = self._added[kind][place]
                self._refuse(fid, _NUMBERS[kind], value, reason)
            tables.setdefault(one.name, []).append(rows)
        for name, several in tables.items():
            yield LISTED_TABLES[name], pa.concat_tables(several)
        yield LINK_COMPACTIONS, LINK_COMPACTIONS.arrow(self._compactions)
        yield OTHER_LEAVES, OTHER_LEAVES.arrow(self._leaves)
        for held in (self._rows, self._adds, self._added, self._compactions, self._leaves):
            held.clear()
        self.pending = 0

    def take_quarantined(self) -> list[Quarantined]:
        """Take out what became no row, or not all of it."""
        found, self._quarantined = self._quarantined, []
        return found


def _source_of(kind: str) -> str:
    """The table that a message's row is in."""
    one = _ADDS.get(kind) or _REMOVES.get(kind)
    return one.name if one is not None else LINK_COMPACTIONS.name
