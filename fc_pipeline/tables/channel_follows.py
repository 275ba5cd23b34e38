"""`channel_follows`: likes of a channel's asset URL, which is what a follow is (protocol-tables 3.5)."""

from typing import Final

from fc_pipeline.tables.channel_slots import CHANNEL_ID
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.message import HASH
from fc_pipeline.tables.reactions import REACTIONS

__all__ = ["CHANNEL_FOLLOWS", "FOLLOWS"]

CHANNEL_FOLLOWS: Final = DataTable(
    name="channel_follows",
    group="channels",
    description=(
        "Who follows which channel, registered or not: a live like of the channel's asset. Only the registrar of the "
        "test and development networks is known; mainnet has none yet."
    ),
    sql_example=(
        "SELECT c.channel_key, count(*) AS followers FROM channel_follows f LEFT JOIN channels c USING (channel_id)\n"
        "WHERE f.deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 20;"
    ),
    key=("fid", "channel_id"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Who follows", nullable=False),
        CHANNEL_ID,
        Column("followed_at", ColumnType.TIMESTAMP, "When, as the user says: the time of the like"),
        HASH,
    ),
    indexes=(Index(("channel_id",), serves="who follows a channel"),),
    # Rows are kept with their reaction.
    concerns=(),
    comparison=Comparison.DERIVED,
)

_ASSETS: Final = "eip155:11155111/erc721:0x7Dd80C661dED9bFC8D4440224A0b39b345a91BE4/"
"""What precedes a channel's number in its URL. No other spelling of it is a follow."""

# Bytes are compared, not texts: what follows `02` in a target may be any string (see `reactions`).
_PREFIX: Final = b"\x02" + _ASSETS.encode()
_FIRST: Final = f"'\\x{_PREFIX.hex()}'::bytea"
_BEYOND: Final = f"'\\x{_PREFIX[:-1].hex()}{_PREFIX[-1] + 1:02x}'::bytea"
_IS_OF_ASSET: Final = f"r.type = 'like' AND r.target >= {_FIRST} AND r.target < {_BEYOND}"

# The number is the channel's id in decimal digits, below 2^256, without a leading zero. Bytes that are no ASCII come
# out of `encode` as backslashes.
_DIGITS: Final = f"encode(substring(r.target FROM {len(_PREFIX) + 1}), 'escape')"
_WORDS: Final = [f"{2**exponent}::numeric" for exponent in range(224, -1, -32)]
"""What each 32 bits of an id count for, the highest first."""
_ID: Final = (
    "decode("
    + " || ".join(f"lpad(to_hex(mod(div(n.number, {word}), {2**32}::numeric)::bigint), 8, '0')" for word in _WORDS)
    + ", 'hex')"
)
_CHANNEL: Final = (
    f"(SELECT CASE WHEN n.number < {2**256}::numeric THEN {_ID} END FROM (SELECT CASE WHEN {_DIGITS} "
    # OFFSET 0: the number is read once, not once for each word of it.
    f"~ '^(0|[1-9][0-9]{{0,77}})$' THEN ({_DIGITS})::numeric END AS number OFFSET 0) AS n)"
)
_NUMBER: Final = " + ".join(
    f"('x' || encode(substring(s.channel_id FROM {place} FOR 4), 'hex'))::bit(32)::bigint * {word}"
    for place, word in zip(range(1, 32, 4), _WORDS, strict=True)
)
_SCOPES: Final = f"SELECT r.fid, {_CHANNEL} AS channel_id FROM {{rows}} AS r WHERE {_IS_OF_ASSET}"


def _of(row: str) -> str:
    """That a reaction `r` is the live like that makes row `row` a follow."""
    number = _NUMBER.replace("s.channel_id", f"{row}.channel_id")
    return (
        f"r.fid = {row}.fid AND r.type = 'like' AND r.target = {_FIRST} || convert_to(({number})::text, 'UTF8') "
        "AND r.deleted_at IS NULL"
    )


FOLLOWS: Final = DerivedTable(
    table=CHANNEL_FOLLOWS,
    scope=("fid", "channel_id"),
    touched={REACTIONS.name: _SCOPES},
    rows=(
        "SELECT s.fid, s.channel_id, f.timestamp AS followed_at, f.hash, f.version, f.deleted_at FROM {scope} AS s "
        f"CROSS JOIN LATERAL (SELECT * FROM {REACTIONS.qualified} AS r WHERE {_of('s')} OFFSET 0) AS f"
    ),
    of_fids=(
        "SELECT f.fid, f.channel_id FROM {fids} AS p CROSS JOIN LATERAL "
        f"({_SCOPES.replace('{rows}', REACTIONS.qualified)} AND r.fid = p.fid AND r.deleted_at IS NULL OFFSET 0) AS f"
    ),
    kept_by=f"SELECT FROM {REACTIONS.qualified} AS r WHERE {_of('t')}",
)
