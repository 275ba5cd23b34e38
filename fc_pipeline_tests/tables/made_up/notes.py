"""`notes`: what users note about others, by author and title. A made-up message set."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import Message, NoteBody
from fc_pipeline.tables.columnar import Rejects, key_text_column
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType, DataTable, Index, Row
from fc_pipeline.tables.encoding import key_text
from fc_pipeline.tables.message import (
    DELETED_REASON,
    ENVELOPE,
    ENVELOPE_VALUES,
    HASH,
    TIMESTAMP,
    Adds,
    Deletion,
    Extract,
    envelope_of,
    live_rows,
    tombstone,
)
from fc_pipeline.tables.message_set import Body, MessageSet

__all__ = ["NOTES", "NOTE_SET"]

NOTES = DataTable(
    name="notes",
    description="What users note about others.",
    sql_example="SELECT fid, title, text FROM notes WHERE deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;",
    key=("fid", "title"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Author", nullable=False),
        Column("title", ColumnType.TEXT, "Title, unique per author", nullable=False),
        Column("text", ColumnType.TEXT, "The note"),
        Column("subject_fid", ColumnType.BIGINT, "Whom the note is about"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(Index(("subject_fid",), serves="what is noted about a user"),),
    concerns=("fid", "subject_fid"),
)


def _extract(message: Message) -> Extract:
    """What the row of a NOTE_ADD needs. Raises ValueError for one without its body."""
    body = _body(message)
    return (*envelope_of(message), body.title, body.text, body.subjectFid)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """NOTE_ADDs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 3)
    titles, texts, subject_fids = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "title": key_text_column(titles, "title", rejects),
        "text": pa.array(texts, type=pa.string()),
        "subject_fid": pa.array(subject_fids, type=pa.int64()),
    }
    return live_rows(NOTES, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """NOTE_REMOVE, or a NOTE_ADD that was pruned, revoked or displaced → the tombstone of its key."""
    return tombstone(NOTES, (message.data.fid, key_text(_body(message).title, "title")), version, deletion)


def _body(message: Message) -> NoteBody:
    body = message.data.noteBody
    if body is None:
        raise ValueError(f"{message.data.type} without noteBody")
    return body


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's NOTE_ADD."""
    yield {"title": row["title"], "text": row["text"], "subjectFid": row["subject_fid"]}


NOTE_SET = MessageSet(
    table=NOTES,
    add_type="MESSAGE_TYPE_NOTE_ADD",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
    remove_type="MESSAGE_TYPE_NOTE_REMOVE",
    removed=_tombstone,
    storage_type="NOTES",
    list_by_fid=HubReads.notes_by_fid,
)
