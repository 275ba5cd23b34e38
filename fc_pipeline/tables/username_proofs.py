"""`username_proofs`: who holds a name, by proof time, since fname proofs arrive once per shard (hub-api 7.5)."""

from fc_pipeline.hub.wire import MergeUsernameProofBody, Message, UsernameProof
from fc_pipeline.tables.columns import LIVENESS, Column, ColumnType, Comparison, DataTable, Index, Row, by_integer_fid
from fc_pipeline.tables.encoding import base64_bytes, hex_bytes, key_text, named, unix_micros
from fc_pipeline.tables.message import DELETED_REASON, Deletion, message_hash

__all__ = ["USERNAME_PROOFS", "listed", "proved"]

USERNAME_PROOFS = DataTable(
    name="username_proofs",
    description="The holder of each fname, ENS name and Basename: the proof with the newest time.",
    sql_example=(
        "SELECT name, type, fid FROM username_proofs\nWHERE deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;"
    ),
    key=("name", "type"),
    columns=(
        Column("name", ColumnType.TEXT, "The name, as it is shown", nullable=False),
        Column("type", ColumnType.TEXT, "fname, ens or basename", nullable=False),
        Column("fid", ColumnType.BIGINT, "Holder; null for a released name"),
        Column("owner", ColumnType.TEXT, "Address that owns the name, 0x-hex"),
        Column("timestamp", ColumnType.TIMESTAMP, "When the proof was made", nullable=False),
        Column("hash", ColumnType.BYTEA, "Hash of the proof's message; null for an fname, which is no message"),
        Column("signature", ColumnType.BYTEA, "The owner's signature"),
        Column(
            "precedence",
            ColumnType.BYTEA,
            "Decides between proofs of equal time, higher wins: the message's hash, or an fname's signature",
            nullable=False,
        ),
        DELETED_REASON,
    ),
    indexes=(Index(("fid",), serves="a user's names"), by_integer_fid("usernames")),
    statistics=(LIVENESS,),
    order=("timestamp", "precedence", "version"),
    comparison=Comparison.NAMES,
)

_TYPES = {"USERNAME_TYPE_FNAME": "fname", "USERNAME_TYPE_ENS_L1": "ens", "USERNAME_TYPE_BASENAME": "basename"}


def proved(body: MergeUsernameProofBody, version: int, deleted_at: int) -> Row:
    """MERGE_USERNAME_PROOF → the row of the new proof, or the tombstone of a released, pruned or revoked one.

    A proof that the new one displaced needs no row of its own: it is older (hub-api 7.1).
    """
    if body.usernameProof is not None:
        return _row(
            body.usernameProof,
            body.usernameProofMessage,
            version,
            None if body.usernameProof.fid else _released(body.usernameProof),
        )
    gone = body.deletedUsernameProof
    if gone is None:
        raise ValueError("MERGE_USERNAME_PROOF without a proof")
    return _row(gone, body.deletedUsernameProofMessage, version, Deletion(deleted_at, "revoked"))


def listed(proof: UsernameProof, version: int) -> Row:
    """A proof as by-FID answers list it → its row.

    They list no message, so the hash of an ENS or Basename proof stays unknown: with the lowest precedence, any event
    of the same proof decides over it, whether it brings the hash or takes the proof away.
    """
    if not proof.fid:
        raise ValueError("a proof of no FID among by-FID answers")
    row = _row(proof, None, version, None)
    if proof.type == "USERNAME_TYPE_FNAME":
        return row
    return tuple(
        b"" if column.name == "precedence" else value
        for column, value in zip(USERNAME_PROOFS.columns, row, strict=True)
    )


def _released(proof: UsernameProof) -> Deletion:
    """By the proof's own time: a release arrives once per shard, in blocks of different times (hub-api 7.5)."""
    return Deletion(unix_micros(proof.timestamp), "released")


def _row(proof: UsernameProof, message: Message | None, version: int, deletion: Deletion | None) -> Row:
    proof_hash = message_hash(message) if message else None
    signature = base64_bytes(proof.signature)
    return (
        key_text(proof.name, "name"),
        named(_TYPES, proof.type, "username type"),
        None if deletion else proof.fid,
        None if deletion else "0x" + hex_bytes(proof.owner).hex(),
        unix_micros(proof.timestamp),
        proof_hash,
        None if deletion else signature,
        proof_hash or signature,
        deletion.reason if deletion else None,
        version,
        deletion.deleted_at if deletion else None,
    )
