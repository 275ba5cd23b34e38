"""Leaves of a shard's trie that no table of rows has: what a shard's own feed says of them (node-db 3.3, 3.6).

Casts, reactions, links, user data, verifications of FIDs at home and contract events are leaves, too, and their tables
know their hashes. Everything else is here: removes, compact states, proofs, lends, channel messages, fnames, and the
verifications of FIDs that are at home on another shard. The last event of the shard about a leaf decides.
"""

from collections.abc import Sequence
from typing import Final

from fc_pipeline.hub.wire import MergeUsernameProofBody, Message, UsernameProof
from fc_pipeline.proof.leaf_keys import (
    FNAME_BYTES,
    LEND_STORAGE_TYPE,
    MESSAGE_TYPE_SHIFT,
    MESSAGE_TYPES,
    fname_leaf,
    message_leaf,
)
from fc_pipeline.tables.columns import BY_VERSION, Column, ColumnType, Comparison, DataTable, Row
from fc_pipeline.tables.encoding import farcaster_micros
from fc_pipeline.tables.message import message_hash

__all__ = [
    "CAST_REMOVE_BYTE",
    "LEND_BYTE",
    "LISTED_TYPES",
    "OTHER_LEAVES",
    "ROWS_OF_TABLES",
    "VERIFICATION_ADD_BYTE",
    "leaf_rows",
    "of_proof",
    "told_rows",
]

OTHER_LEAVES: Final = DataTable(
    name="other_leaves",
    schema="pipeline",
    description="Leaves of each shard's trie that are no rows of another table; one that is gone has deleted_at.",
    key=("shard", "fid", "leaf"),
    columns=(
        Column("shard", ColumnType.INTEGER, "Whose feed says so", nullable=False),
        Column("fid", ColumnType.BIGINT, "Under whom it stands: of a lend lender and borrower", nullable=False),
        Column("leaf", ColumnType.BYTEA, "Type byte, then the message's hash or the padded fname", nullable=False),
        Column("link_type", ColumnType.TEXT, "Of a LINK_REMOVE or LINK_COMPACT_STATE"),
        Column("timestamp", ColumnType.TIMESTAMP, "Of a LINK_REMOVE: one made up to a compact state's time is gone"),
        Column("lender_fid", ColumnType.BIGINT, "Of a LEND_STORAGE: who lends, whose lists have it"),
        Column("borrower_fid", ColumnType.BIGINT, "Of a LEND_STORAGE: who borrows"),
    ),
    is_large=True,
    indexes=(BY_VERSION,),
    comparison=Comparison.NONE,
    is_read_by_change=False,
)

ROWS_OF_TABLES: Final = frozenset(
    {"MESSAGE_TYPE_CAST_ADD", "MESSAGE_TYPE_REACTION_ADD", "MESSAGE_TYPE_LINK_ADD", "MESSAGE_TYPE_USER_DATA_ADD"}
)
"""Messages that come on the FID's home shard alone, and whose live rows are the leaves."""
_TYPES: Final = {
    kind: number for name, number in MESSAGE_TYPES.items() if (kind := f"MESSAGE_TYPE_{name}") not in ROWS_OF_TABLES
}
VERIFICATION_ADD_BYTE: Final = MESSAGE_TYPES["VERIFICATION_ADD_ETH_ADDRESS"] << MESSAGE_TYPE_SHIFT
"""The first byte of a leaf that is a row of `verifications` where the FID is at home."""

CAST_REMOVE_BYTE: Final = MESSAGE_TYPES["CAST_REMOVE"] << MESSAGE_TYPE_SHIFT
LEND_BYTE: Final = LEND_STORAGE_TYPE << MESSAGE_TYPE_SHIFT
LISTED_TYPES: Final = tuple(
    MESSAGE_TYPES[kind] << MESSAGE_TYPE_SHIFT
    for kind in ("REACTION_REMOVE", "LINK_REMOVE", "LINK_COMPACT_STATE", "VERIFICATION_REMOVE")
)
"""Type bytes of what a node lists over gRPC as an FID's home shard has it; lends are the same on every shard."""

_FNAME: Final = "USERNAME_TYPE_FNAME"


def leaf_rows(shard: int, message: Message, version: int, deleted_at: int | None = None) -> Sequence[Row]:
    """The leaves of a message that is in the set now or, with `deleted_at`, gone: of a lend two, else one.

    None of what is a row of another table, and of types that are not known. Verifications are among them wherever the
    FID is at home. Raises ValueError for a hash of another length.
    """
    data = message.data
    number = _TYPES.get(data.type)
    if number is None:
        return ()
    leaf = message_leaf(number, message_hash(message))
    link_type, timestamp = None, None
    if data.linkBody is not None:
        link_type, timestamp = data.linkBody.type, farcaster_micros(data.timestamp)
    elif data.linkCompactStateBody is not None:
        link_type = data.linkCompactStateBody.type
    if number == LEND_STORAGE_TYPE and data.lendStorageBody is not None:
        lend = data.fid, data.lendStorageBody.toFid
        fids = dict.fromkeys(lend)
    else:
        lend = None, None
        fids = dict.fromkeys((data.fid,))
    return [(shard, fid, leaf, link_type, timestamp, *lend, version, deleted_at) for fid in fids]


def told_rows(shard: int, fid: int, leaves: Sequence[bytes], version: int) -> Sequence[Row]:
    """Leaves that are neither of links nor lends, as a trie has them."""
    return [(shard, fid, leaf, None, None, None, None, version, None) for leaf in leaves]


def of_proof(shard: int, body: MergeUsernameProofBody, version: int, block_micros: int) -> list[Row]:
    """The leaves that a MERGE_USERNAME_PROOF takes and brings; of fnames it brings first (node-db 3.6).

    So an fname that is proved anew for the same FID loses its leaf. Raises ValueError for a hash of another length.
    """
    rows: list[Row] = []
    if body.deletedUsernameProofMessage is not None:
        rows += leaf_rows(shard, body.deletedUsernameProofMessage, version, block_micros)
    if body.usernameProofMessage is not None:
        rows += leaf_rows(shard, body.usernameProofMessage, version)
    rows += _fname_rows(shard, body.usernameProof, version, None)
    rows += _fname_rows(shard, body.deletedUsernameProof, version, block_micros)
    return rows


def _fname_rows(shard: int, proof: UsernameProof | None, version: int, deleted_at: int | None) -> list[Row]:
    # A longer name is no fname: the registry gives none.
    if proof is None or proof.type != _FNAME or not proof.fid or len(proof.name.encode()) > FNAME_BYTES:
        return []
    return [(shard, proof.fid, fname_leaf(proof.name), None, None, None, None, version, deleted_at)]
