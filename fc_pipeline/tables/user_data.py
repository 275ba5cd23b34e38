"""`user_data`: profile fields, by FID and type (hub-api 5.2)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import Message, UserDataBody
from fc_pipeline.tables.columnar import Rejects, by_value, named_column
from fc_pipeline.tables.columns import LIVENESS, ArrowArray, Column, ColumnType, DataTable, Index, Row, by_utc
from fc_pipeline.tables.encoding import key_text, named, said_as
from fc_pipeline.tables.message import (
    APP_FID,
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

__all__ = ["USER_DATA", "USER_DATA_SET"]

USER_DATA = DataTable(
    name="user_data",
    description="Profile fields as users set them; an empty value is a real one and means cleared.",
    sql_example="SELECT fid, type, value FROM user_data WHERE deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;",
    key=("fid", "type"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Whose profile", nullable=False),
        Column(
            "type",
            ColumnType.TEXT,
            "pfp, display, bio, url, username, location, twitter, github, banner, primary_address_ethereum, "
            "primary_address_solana, profile_token or live_at",
            nullable=False,
        ),
        Column("value", ColumnType.TEXT, "The field's text; empty means cleared"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        APP_FID,
        DELETED_REASON,
    ),
    # Who shows a name: looked up when its holder changes.
    indexes=(
        Index(("value",), where="type = 'username'", serves="the fold: who shows a name whose holder changes"),
        by_utc("updated_at"),
    ),
    statistics=(LIVENESS,),
)

_TYPES = {
    "USER_DATA_TYPE_PFP": "pfp",
    "USER_DATA_TYPE_DISPLAY": "display",
    "USER_DATA_TYPE_BIO": "bio",
    "USER_DATA_TYPE_URL": "url",
    "USER_DATA_TYPE_USERNAME": "username",
    "USER_DATA_TYPE_LOCATION": "location",
    "USER_DATA_TYPE_TWITTER": "twitter",
    "USER_DATA_TYPE_GITHUB": "github",
    "USER_DATA_TYPE_BANNER": "banner",
    "USER_DATA_PRIMARY_ADDRESS_ETHEREUM": "primary_address_ethereum",
    "USER_DATA_PRIMARY_ADDRESS_SOLANA": "primary_address_solana",
    "USER_DATA_TYPE_PROFILE_TOKEN": "profile_token",
    "USER_DATA_TYPE_LIVE_AT": "live_at",
}


def _extract(message: Message) -> Extract:
    """What the row of a USER_DATA_ADD needs. Raises ValueError for one without its body."""
    body = _body(message)
    return (*envelope_of(message), body.type, body.value)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """USER_DATA_ADDs → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 2)
    kinds, values = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "type": named_column(_TYPES, kinds, "user data type", rejects),
        "value": by_value(list(zip(kinds, values, strict=True)), _value, pa.string(), rejects),
    }
    return live_rows(USER_DATA, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """A USER_DATA_ADD that was pruned, revoked or displaced → the tombstone of its key."""
    return tombstone(
        USER_DATA, (message.data.fid, named(_TYPES, _body(message).type, "user data type")), version, deletion
    )


def _body(message: Message) -> UserDataBody:
    body = message.data.userDataBody
    if body is None:
        raise ValueError(f"{message.data.type} without userDataBody")
    return body


def _value(field: tuple[str, str]) -> str:
    kind, value = field
    # A username is indexed in user_profiles.
    return key_text(value, "username") if kind == "USER_DATA_TYPE_USERNAME" else value


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's USER_DATA_ADD."""
    yield {"type": said_as(_TYPES, row["type"]), "value": row["value"]}


USER_DATA_SET = MessageSet(
    table=USER_DATA,
    add_type="MESSAGE_TYPE_USER_DATA_ADD",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
    storage_type="USER_DATA",
    list_by_fid=HubReads.user_data_by_fid,
)
