"""`tier_purchases`: Pro and other tiers that somebody bought for an FID (protocol-tables 2.4)."""

from typing import Final

from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index
from fc_pipeline.tables.contract_events import BLOCK_NUMBER, EVENT_KEY, FID, one_row_per_event, whole_number

__all__ = ["PRO_UNTIL", "PURCHASES", "TIER_PURCHASES"]

TIER_PURCHASES: Final = DataTable(
    name="tier_purchases",
    group="storage",
    description="Purchases of a tier; those of one FID follow each other (see pro_until of user_profiles).",
    sql_example=(
        "SELECT date_trunc('month', purchased_at) AS month, count(*), sum(for_days) AS days FROM tier_purchases\n"
        "WHERE tier_type = 'Pro' GROUP BY 1 ORDER BY 1;"
    ),
    key=tuple(column.name for column in EVENT_KEY),
    columns=(
        *EVENT_KEY,
        FID,
        Column("payer", ColumnType.TEXT, "Address that paid, 0x-hex"),
        Column("tier_type", ColumnType.TEXT, "Pro; others have no meaning yet"),
        Column("for_days", ColumnType.BIGINT, "How many days"),
        Column("purchased_at", ColumnType.TIMESTAMP, "Time of the event's block"),
        BLOCK_NUMBER,
    ),
    indexes=(Index(("fid",), serves="what was bought for a user"),),
    comparison=Comparison.DERIVED,
)

PURCHASES: Final = one_row_per_event(
    TIER_PURCHASES,
    "tier_purchase",
    {
        "payer": "e.body->>'payer'",
        "tier_type": "e.body->>'tier_type'",
        "for_days": whole_number("for_days"),
        "purchased_at": "e.block_timestamp",
    },
)

PRO_UNTIL: Final = (
    "(SELECT max(b.purchased_at + b.days * interval '1 day') FROM (SELECT p.purchased_at, sum(p.for_days) "
    "OVER (ORDER BY p.block_number DESC, p.log_index DESC ROWS UNBOUNDED PRECEDING) AS days "
    "FROM public.tier_purchases AS p WHERE p.fid = f.fid AND p.tier_type = 'Pro') AS b)"
)
"""SQL for when Pro ends that was bought for `f.fid`; null where none was.

A purchase begins where the one before ends, or at once: so it ends at the latest end of any series of last purchases.
"""
