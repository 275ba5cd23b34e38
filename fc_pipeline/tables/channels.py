"""`channels`: registered channels, whose each is and how it is set up (protocol-tables 3.1, 3.2)."""

from typing import Final

from fc_pipeline.tables.channel_settings import (
    CHANNEL_SETTINGS,
    DEFAULT_CASTING_MODE,
    DEFAULT_MEMBERSHIP_MODE,
    SETTINGS,
)
from fc_pipeline.tables.channel_slots import CHANNEL_ID
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.verifications import VERIFICATIONS

__all__ = ["CHANNELS", "REGISTRY"]

CHANNELS: Final = DataTable(
    name="channels",
    group="channels",
    description=(
        "Channels that were ever registered. Expiry changes nothing by itself: a channel that is over keeps its owner "
        "and works on until somebody registers it again."
    ),
    sql_example=(
        "SELECT c.channel_key, p.username AS owner, c.expires_at FROM channels c\n"
        "LEFT JOIN user_profiles p USING (fid) WHERE c.deleted_at IS NULL ORDER BY c.registered_at DESC LIMIT 20;"
    ),
    key=("channel_id",),
    columns=(
        CHANNEL_ID,
        Column("channel_key", ColumnType.TEXT, "The channel's name, verbatim: names that differ in case are two"),
        Column("owner_address", ColumnType.TEXT, "Address that the contract gives the channel to, 0x-hex"),
        Column(
            "fid",
            ColumnType.BIGINT,
            "Owner: of the FIDs that verified this address the one whose verification is the newest; null while the "
            "channel is parked",
        ),
        Column("registered_at", ColumnType.TIMESTAMP, "When it was first registered"),
        Column("expires_at", ColumnType.TIMESTAMP, "Until when it is paid for; null beyond the year 5000"),
        *SETTINGS,
    ),
    indexes=(
        Index(("channel_key",), serves="a channel by its key; the fold: whose it is"),
        Index(("owner_address",), serves="the fold: channels of an address that is verified or no longer"),
        Index(("fid",), where="fid IS NOT NULL", serves="channels that a user owns"),
    ),
    comparison=Comparison.DERIVED,
)

_LABEL: Final = "lower(substr(r.body->>'label', 1, 66))"
"""Of a contract event `r`, as its index has it."""


def _channel_of(body: str) -> str:
    """The id of the channel that a contract event is of, out of its body; null where its label is none."""
    label = f"lower({body}->>'label')"
    return f"CASE WHEN {label} ~ '^0x[0-9a-f]{{64}}$' THEN decode(substr({label}, 3), 'hex') END"


# What is no address or no time is null: the contract's events are kept as the hub sends them.
_EVENTS: Final = f"""
    SELECT r.block_number, r.log_index, r.block_timestamp, r.version,
      CASE WHEN octet_length(r.body->>'channelKey') <= 2000 THEN r.body->>'channelKey' END AS channel_key,
      CASE WHEN r.body->>'ownerAddress' ~ '^0x[0-9a-fA-F]{{40}}$' THEN lower(r.body->>'ownerAddress') END AS owner,
      CASE WHEN r.body->>'expiry' ~ '^[0-9]{{1,11}}$' THEN to_timestamp((r.body->>'expiry')::bigint) END AS expiry,
      replace(r.body->>'eventType', 'CHANNEL_REGISTER_EVENT_TYPE_', '') AS change
    FROM (SELECT * FROM {ON_CHAIN_EVENTS.qualified} AS r
      WHERE r.type = 'channel_register' AND {_LABEL} = '0x' || encode(s.channel_id, 'hex')
      AND length(r.body->>'label') = 66 AND r.deleted_at IS NULL OFFSET 0) AS r
"""


def _newest(value: str, condition: str) -> str:
    """A value of the last event that sets it; what came before the registration did nothing."""
    return (
        f"(array_agg({value} ORDER BY e.block_number DESC, e.log_index DESC) FILTER (WHERE {condition} "
        "AND (e.block_number, e.log_index) >= (g.block_number, g.log_index)))[1]"
    )


_OWNER: Final = _newest("e.owner", "e.change IN ('REGISTER', 'TRANSFER') AND e.owner IS NOT NULL")
_EXPIRY: Final = _newest("e.expiry", "(e.change = 'RENEW' OR (e.change = 'REGISTER' AND e.owner IS NOT NULL))")
_DEFAULTS: Final = {"casting_mode": DEFAULT_CASTING_MODE, "membership_mode": DEFAULT_MEMBERSHIP_MODE}
_SETTINGS: Final = ", ".join(
    f"coalesce(t.{one.name}, '{_DEFAULTS[one.name]}') AS {one.name}" if one.name in _DEFAULTS else f"t.{one.name}"
    for one in SETTINGS
)
_ROWS: Final = f"""
  SELECT s.channel_id, g.channel_key, o.owner_address, w.fid, g.block_timestamp AS registered_at, o.expires_at,
    {_SETTINGS}, greatest(o.version, t.version, v.version) AS version, NULL::timestamptz AS deleted_at
  FROM {{scope}} AS s
  CROSS JOIN LATERAL (
    SELECT e.* FROM ({_EVENTS}) AS e WHERE e.change = 'REGISTER' AND e.owner IS NOT NULL
    ORDER BY e.block_number, e.log_index LIMIT 1) AS g
  CROSS JOIN LATERAL (
    SELECT {_OWNER} AS owner_address, {_EXPIRY} AS expires_at, max(e.version) AS version
    FROM ({_EVENTS}) AS e) AS o
  LEFT JOIN LATERAL (
    SELECT * FROM {CHANNEL_SETTINGS.qualified} AS r WHERE r.channel_id = s.channel_id AND r.deleted_at IS NULL OFFSET 0
  ) AS t ON true
  LEFT JOIN LATERAL (
    SELECT r.fid FROM {VERIFICATIONS.qualified} AS r
    WHERE r.address = o.owner_address AND r.protocol = 'ethereum' AND r.deleted_at IS NULL
    ORDER BY r.timestamp DESC, r.hash DESC, r.fid LIMIT 1) AS w ON true
  CROSS JOIN LATERAL (
    SELECT max(r.version) AS version FROM {VERIFICATIONS.qualified} AS r WHERE r.address = o.owner_address) AS v
"""

_OWNED: Final = (
    f"SELECT c.channel_id FROM {{verified}} AS r CROSS JOIN LATERAL "
    f"(SELECT channel_id FROM {CHANNELS.qualified} WHERE owner_address = r.address OFFSET 0) AS c"
)
_OF_FIDS: Final = tuple(
    f"(SELECT r.* FROM {{fids}} AS p CROSS JOIN LATERAL (SELECT * FROM {table.qualified} WHERE fid = p.fid "
    "AND deleted_at IS NULL OFFSET 0) AS r)"
    for table in (VERIFICATIONS, CHANNEL_SETTINGS)
)

REGISTRY: Final = DerivedTable(
    table=CHANNELS,
    scope=("channel_id",),
    touched={
        ON_CHAIN_EVENTS.name: (
            f"SELECT {_channel_of('r.body::jsonb')} AS channel_id FROM {{rows}} AS r WHERE r.type = 'channel_register'"
        ),
        CHANNEL_SETTINGS.name: "SELECT r.channel_id FROM {rows} AS r",
        # An address that owns no channel yet is asked for when the channel comes.
        VERIFICATIONS.name: _OWNED.replace("{verified}", "{rows}"),
    },
    rows=_ROWS,
    of_fids=(f"{_OWNED.replace('{verified}', _OF_FIDS[0])} UNION ALL SELECT r.channel_id FROM {_OF_FIDS[1]} AS r"),
    # Registrations come on one shard, verifications on the home shard of each FID that verified the address.
    shared_sources=(VERIFICATIONS.name,),
    through_rows=(VERIFICATIONS.name,),
)
