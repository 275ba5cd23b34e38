"""`user_profiles`: one row per FID, derived from the rows of its user data, verifications and registration."""

from typing import Final

from fc_pipeline.tables.columns import (
    LIVENESS,
    Column,
    ColumnType,
    Comparison,
    DataTable,
    Index,
    by_address_bytes,
    by_integer_fid,
    by_utc,
)
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.tier_purchases import PRO_UNTIL

__all__ = ["PROFILES", "USER_PROFILES"]

USER_PROFILES = DataTable(
    name="user_profiles",
    group="profiles",
    description="One row per FID: what an app shows of a user.",
    sql_example=(
        "SELECT fid, username, display_name, bio FROM user_profiles\n"
        "WHERE deleted_at IS NULL ORDER BY updated_at DESC LIMIT 20;"
    ),
    key=("fid",),
    columns=(
        Column("fid", ColumnType.BIGINT, "The user", nullable=False),
        Column("username", ColumnType.TEXT, "Name that the user shows, unless its proof is another's"),
        Column("display_name", ColumnType.TEXT, "Display name"),
        Column("bio", ColumnType.TEXT, "Bio"),
        Column("pfp_url", ColumnType.TEXT, "Profile picture"),
        Column("url", ColumnType.TEXT, "Web site"),
        Column("location", ColumnType.TEXT, "geo:LAT,LON"),
        Column("twitter", ColumnType.TEXT, "X account"),
        Column("github", ColumnType.TEXT, "GitHub account"),
        Column("banner_url", ColumnType.TEXT, "Banner picture"),
        Column(
            "primary_eth_address",
            ColumnType.TEXT,
            "As set by the user, while verified, else the one verified first",
        ),
        Column(
            "primary_sol_address",
            ColumnType.TEXT,
            "As set by the user, while verified, else the one verified first",
        ),
        Column("custody_address", ColumnType.TEXT, "Address that owns the FID, 0x-hex"),
        Column("registered_at", ColumnType.TIMESTAMP, "When the FID was registered"),
        Column("pro_until", ColumnType.TIMESTAMP, "When Pro ends that was bought for the FID; null: never bought"),
        Column("updated_at", ColumnType.TIMESTAMP, "Time of the newest message or contract event behind the row"),
    ),
    indexes=(
        Index(
            ("username",),
            where="username IS NOT NULL",
            serves="the profile of a name, as it is written",
        ),
        Index(
            ("lower_username",),
            expressions=("lower(username)",),
            operators="text_pattern_ops",
            serves="a user by name or its beginning: `api.user_by_name`, `api.users_by_prefix`",
            is_made_later=True,
        ),
        Index(
            ("lower_display_name",),
            expressions=("lower(display_name)",),
            operators="text_pattern_ops",
            serves="users by the beginning of the display name: `api.users_by_prefix`",
            is_made_later=True,
        ),
        Index(("custody_address",), serves="users by address: `api.users_by_address`"),
        by_address_bytes("custody_address", "neynar.fids"),
        by_integer_fid("fids"),
        by_utc("changed_at"),
    ),
    statistics=(LIVENESS,),
    comparison=Comparison.DERIVED,
)

_FIELDS: Final = {
    "username": "username",
    "display_name": "display",
    "bio": "bio",
    "pfp_url": "pfp",
    "url": "url",
    "location": "location",
    "twitter": "twitter",
    "github": "github",
    "banner_url": "banner",
    "set_eth_address": "primary_address_ethereum",
    "set_sol_address": "primary_address_solana",
}
# An empty value is a cleared field (hub-api 5.2).
_PIVOT: Final = ", ".join(
    f"max(nullif(value, '')) FILTER (WHERE deleted_at IS NULL AND type = '{kind}') AS {name}"
    for name, kind in _FIELDS.items()
)
_ADDRESSES: Final = (
    "array_agg(address ORDER BY timestamp, address) FILTER (WHERE deleted_at IS NULL AND protocol = '{protocol}')"
)
_PLAIN: Final = ", ".join(f"d.{name}" for name in _FIELDS if name != "username" and not name.startswith("set_"))

# Whoever is shown under a name whose proof is known to be another's would be taken for that user. A name of which no
# proof is known stays: its proof may still come.
_SHOWN_NAME: Final = (
    "CASE WHEN (SELECT coalesce(bool_or(n.deleted_at IS NULL AND n.fid = f.fid), false) "
    "OR NOT coalesce(bool_or((n.deleted_at IS NULL AND n.fid <> f.fid) OR n.deleted_reason = 'not_target'), false) "
    "FROM public.username_proofs AS n WHERE n.name = d.username) THEN d.username END"
)
# Snapchain's spelling and Hubble's (hub-api T20).
_TRANSFERS: Final = "('Register', 'Transfer', 'ID_REGISTER_EVENT_TYPE_REGISTER', 'ID_REGISTER_EVENT_TYPE_TRANSFER')"
_REGISTERS: Final = "('Register', 'ID_REGISTER_EVENT_TYPE_REGISTER')"

_ROWS: Final = f"""
  SELECT f.fid, {_SHOWN_NAME} AS username, {_PLAIN},
    coalesce(CASE WHEN lower(d.set_eth_address) = ANY (v.eth_addresses) THEN d.set_eth_address END, v.eth_addresses[1])
      AS primary_eth_address,
    coalesce(CASE WHEN d.set_sol_address = ANY (v.sol_addresses) THEN d.set_sol_address END, v.sol_addresses[1])
      AS primary_sol_address,
    c.custody_address, c.registered_at, {PRO_UNTIL} AS pro_until,
    greatest(d.updated_at, v.updated_at, c.updated_at) AS updated_at,
    greatest(d.version, v.version, c.version) AS version,
    CASE WHEN d.live OR v.live OR c.registered_at IS NOT NULL OR c.custody_address IS NOT NULL
      THEN NULL ELSE greatest(d.deleted_at, v.deleted_at) END AS deleted_at
  FROM {{scope}} AS f
  CROSS JOIN LATERAL (
    SELECT {_PIVOT}, max(timestamp) AS updated_at, max(version) AS version, max(deleted_at) AS deleted_at,
      bool_or(deleted_at IS NULL) AS live
    FROM public.user_data WHERE fid = f.fid) AS d
  CROSS JOIN LATERAL (
    SELECT {_ADDRESSES.format(protocol="ethereum")} AS eth_addresses,
      {_ADDRESSES.format(protocol="solana")} AS sol_addresses,
      max(timestamp) AS updated_at, max(version) AS version, max(deleted_at) AS deleted_at,
      bool_or(deleted_at IS NULL) AS live
    FROM public.verifications WHERE fid = f.fid) AS v
  CROSS JOIN LATERAL (
    SELECT (array_agg(body->>'to' ORDER BY block_number DESC, log_index DESC)
        FILTER (WHERE body->>'eventType' IN {_TRANSFERS}))[1] AS custody_address,
      min(block_timestamp) FILTER (WHERE body->>'eventType' IN {_REGISTERS}) AS registered_at,
      max(block_timestamp) AS updated_at, max(version) AS version
    FROM public.on_chain_events WHERE fid = f.fid AND type = 'id_register') AS c
  WHERE f.fid > 0 AND (d.version IS NOT NULL OR v.version IS NOT NULL OR c.version IS NOT NULL)
"""

_OF_FID: Final = "SELECT r.fid FROM {rows} AS r"
# Whoever shows a name is touched by each of its proofs: its holder may have changed.
_SHOWING: Final = (
    "SELECT u.fid FROM {rows} AS s CROSS JOIN LATERAL "
    "(SELECT fid FROM public.user_data WHERE type = 'username' AND value = s.name OFFSET 0) AS u"
)

PROFILES: Final = DerivedTable(
    table=USER_PROFILES,
    scope=("fid",),
    touched={
        "user_data": _OF_FID,
        "verifications": _OF_FID,
        "username_proofs": f"{_OF_FID} UNION ALL {_SHOWING}",
        "on_chain_events": f"{_OF_FID} WHERE r.type IN ('id_register', 'tier_purchase')",
    },
    rows=_ROWS,
    of_fids="SELECT p.fid FROM {fids} AS p",
    # An fname's proof comes on every shard, and whoever shows the name may be of any.
    shared_sources=("username_proofs",),
)
