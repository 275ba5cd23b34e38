"""`signers`: the keys that may sign for an FID, and the app that asked for each (protocol-tables 1)."""

from typing import Final

from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS

__all__ = ["KEYS", "SIGNERS"]

SIGNERS: Final = DataTable(
    name="signers",
    group="profiles",
    description=(
        "Keys that may or might sign for an FID. A key that was removed keeps its row, with the time. Of gasless keys, "
        "which no feed tells of, it has what a hub said when it was asked last: see `gasless_keys`."
    ),
    sql_example=(
        "SELECT app_fid, kind, count(*) AS users FROM signers\n"
        "WHERE removed_at IS NULL AND key_type = 1 AND (expires_at IS NULL OR expires_at > now())\n"
        "GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20;"
    ),
    key=("fid", "key"),
    columns=(
        Column("fid", ColumnType.BIGINT, "For whom the key signs", nullable=False),
        Column("key", ColumnType.BYTEA, "Ed25519 public key, or an address of key_type 2", nullable=False),
        Column(
            "kind",
            ColumnType.TEXT,
            "onchain: of the key registry's events; gasless: added by a message. A key that is both is onchain while "
            "the registry has it",
        ),
        Column("key_type", ColumnType.INTEGER, "1 signs messages, 2 is an auth address, which signs none"),
        Column(
            "app_fid",
            ColumnType.BIGINT,
            "App that asked for the key, in the registry if it ever was there; null where the request names none",
        ),
        Column("scopes", ColumnType.TEXTS, "Types of messages that a gasless key may sign; null of others: all"),
        Column("ttl_seconds", ColumnType.BIGINT, "A gasless key expires when it was not used for so long; else null"),
        Column("added_at", ColumnType.TIMESTAMP, "When it was added; null if only its removal is known"),
        Column(
            "last_used_at",
            ColumnType.TIMESTAMP,
            "Last use of a gasless key that a hub told of; null of others: unknown",
        ),
        Column(
            "expires_at",
            ColumnType.TIMESTAMP,
            "When a gasless key expires, if it was not used since it was read last; null: never",
        ),
        Column(
            "removed_at",
            ColumnType.TIMESTAMP,
            "When it was removed, of a gasless key: when a hub first did not list it; null: it may sign until it "
            "expires",
        ),
    ),
    indexes=(
        Index(("key",), serves="whose a key is"),
        Index(("app_fid",), where="app_fid IS NOT NULL", serves="users of an app"),
    ),
    comparison=Comparison.DERIVED,
)

_METADATA: Final = "e.body->>'metadata'"
# A signed key request (metadataType 1) is one ABI-encoded tuple: a word with its offset, 32, and then the app's FID as
# a word of 32 bytes. What is no such request, or no FID that a bigint holds, names no app.
_REQUEST: Final = (
    f"CASE WHEN e.body->>'metadataType' = '1' AND {_METADATA} ~ '^[A-Za-z0-9+/]+=?=?$' "
    f"AND mod(length({_METADATA}), 4) = 0 THEN decode({_METADATA}, 'base64') END"
)
_APP_FID: Final = (
    "CASE WHEN substring(q.request FROM 1 FOR 32) = decode(lpad('20', 64, '0'), 'hex') "
    "AND substring(q.request FROM 33 FOR 24) = decode(repeat('00', 24), 'hex') AND length(q.request) >= 64 "
    "AND get_byte(q.request, 56) < 128 "
    "THEN ('x' || encode(substring(q.request FROM 57 FOR 8), 'hex'))::bit(64)::bigint END"
)


def _newest(value: str, condition: str = "k.is_onchain") -> str:
    return f"(array_agg({value} ORDER BY k.block_number DESC, k.log_index DESC) FILTER (WHERE {condition}))[1]"


def _first_added(value: str) -> str:
    return f"(array_agg({value} ORDER BY k.block_number, k.log_index) FILTER (WHERE k.change = 'ADD'))[1]"


def _of_the_add(value: str) -> str:
    """A value of the add that counts: ADMIN_RESET restores the key as it was first added."""
    newest = _newest(value, "k.change = 'ADD'")
    return f"CASE WHEN {_newest('k.change')} = 'ADMIN_RESET' THEN {_first_added(value)} ELSE {newest} END"


_OF_THE_MESSAGE: Final = (
    "key_type",
    "app_fid",
    "scopes",
    "ttl_seconds",
    "added_at",
    "last_used_at",
    "expires_at",
    "removed_at",
)
# A key has one such row at most.
_GASLESS: Final = ", ".join(f"max(k.{name}) FILTER (WHERE NOT k.is_onchain) AS g_{name}" for name in _OF_THE_MESSAGE)
# Active in the registry is active there alone; of two that are removed the one that was there last counts.
_IS_GASLESS: Final = (
    "(has_gasless AND (o_added_at IS NULL OR (o_removed_at IS NOT NULL "
    "AND (g_removed_at IS NULL OR g_removed_at > o_removed_at))))"
)


def _of_its_kind(name: str) -> str:
    return f"CASE WHEN {_IS_GASLESS} THEN g_{name} ELSE o_{name} END AS {name}"


def _if_gasless(name: str) -> str:
    return f"CASE WHEN {_IS_GASLESS} THEN g_{name} END AS {name}"


# OFFSET 0: a request is decoded once, not for each of its bytes.
_ROWS: Final = f"""
  SELECT fid, key, CASE WHEN {_IS_GASLESS} THEN 'gasless' ELSE 'onchain' END AS kind, {_of_its_kind("key_type")},
    CASE WHEN o_added_at IS NULL THEN g_app_fid ELSE o_app_fid END AS app_fid, {_of_its_kind("added_at")},
    {_of_its_kind("removed_at")}, {_if_gasless("scopes")}, {_if_gasless("ttl_seconds")},
    {_if_gasless("last_used_at")}, {_if_gasless("expires_at")}, version, NULL::timestamptz AS deleted_at
  FROM (
    SELECT k.fid, k.key, bool_or(NOT k.is_onchain) AS has_gasless, {_GASLESS},
      {_of_the_add("k.key_type")} AS o_key_type, {_of_the_add("k.app_fid")} AS o_app_fid,
      {_of_the_add("k.block_timestamp")} AS o_added_at,
      CASE WHEN {_newest("k.change")} = 'REMOVE' THEN {_newest("k.block_timestamp")} END AS o_removed_at,
      max(k.version) AS version
    FROM (
      SELECT e.fid, decode(substr(e.body->>'key', 3), 'hex') AS key, true AS is_onchain, e.block_number, e.log_index,
        e.block_timestamp, replace(e.body->>'eventType', 'SIGNER_EVENT_TYPE_', '') AS change,
        CASE WHEN e.body->>'keyType' ~ '^[0-9]{{1,9}}$' THEN (e.body->>'keyType')::integer END AS key_type,
        {_APP_FID} AS app_fid, NULL::text[] AS scopes, NULL::bigint AS ttl_seconds, NULL::timestamptz AS added_at,
        NULL::timestamptz AS last_used_at, NULL::timestamptz AS expires_at, NULL::timestamptz AS removed_at, e.version
      FROM {{scope}} AS s
      CROSS JOIN LATERAL (SELECT * FROM {ON_CHAIN_EVENTS.qualified} AS r
        WHERE r.fid = s.fid AND r.type = 'signer' AND r.deleted_at IS NULL OFFSET 0) AS e
      CROSS JOIN LATERAL (SELECT {_REQUEST} AS request OFFSET 0) AS q
      WHERE e.body->>'key' ~ '^0x[0-9a-fA-F]+$' AND mod(length(e.body->>'key'), 2) = 0 AND length(e.body->>'key') <= 130
      UNION ALL
      SELECT g.fid, g.key, false, NULL, NULL, NULL, NULL, g.key_type, g.app_fid, g.scopes, g.ttl_seconds, g.added_at,
        g.last_used_at, g.expires_at, g.removed_at, g.version
      FROM {{scope}} AS s
      CROSS JOIN LATERAL (SELECT * FROM {GASLESS_KEYS.qualified} AS r WHERE r.fid = s.fid OFFSET 0) AS g
    ) AS k GROUP BY k.fid, k.key
  ) AS both_kinds
"""

KEYS: Final = DerivedTable(
    table=SIGNERS,
    scope=("fid",),
    touched={
        ON_CHAIN_EVENTS.name: "SELECT fid FROM {rows} AS r WHERE r.type = 'signer'",
        GASLESS_KEYS.name: "SELECT fid FROM {rows} AS r",
    },
    rows=_ROWS,
    of_fids="SELECT p.fid FROM {fids} AS p",
)
