"""`storage_rents`: storage that somebody rented for an FID, one row per contract event (protocol-tables 2.1)."""

from typing import Final

from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index, by_integer_fid
from fc_pipeline.tables.contract_events import BLOCK_NUMBER, EVENT_KEY, FID, one_row_per_event, whole_number

__all__ = ["RENTS", "STORAGE_RENTS"]

STORAGE_RENTS: Final = DataTable(
    name="storage_rents",
    group="storage",
    description="Storage units that were rented, each lot with the time when it ends.",
    sql_example=(
        "SELECT fid, unit_type, sum(units) AS units, min(expires_at) AS first_to_end FROM storage_rents\n"
        "WHERE expires_at BETWEEN now() AND now() + interval '30 days' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20;"
    ),
    key=tuple(column.name for column in EVENT_KEY),
    columns=(
        *EVENT_KEY,
        FID,
        Column("payer", ColumnType.TEXT, "Address that paid, 0x-hex"),
        Column("units", ColumnType.BIGINT, "How many units"),
        Column("unit_type", ColumnType.TEXT, "legacy, 2024 or 2025: how much a unit holds, by when it was rented"),
        Column("rented_at", ColumnType.TIMESTAMP, "Time of the event's block"),
        Column("expires_at", ColumnType.TIMESTAMP, "When the units end, by the network's rule, not the contract's"),
        BLOCK_NUMBER,
    ),
    indexes=(
        Index(("fid", "unit_type"), serves="a user's storage: view `storage`"),
        Index(("expires_at",), serves="what expires next"),
        by_integer_fid("storage_rentals"),
    ),
    comparison=Comparison.DERIVED,
)

# Mainnet's boundaries; years have 365 days. V18 (2026-06-22) gave every earlier lot another year.
_TYPE_2024_UNIX: Final = 1_724_889_600
_TYPE_2025_UNIX: Final = 1_752_685_200
_V18_UNIX: Final = 1_782_147_600


def _by_time(legacy: str, of_2024: str, of_2025: str, since_v18: str) -> str:
    return (
        f"CASE WHEN e.block_timestamp < to_timestamp({_TYPE_2024_UNIX}) THEN {legacy} "
        f"WHEN e.block_timestamp < to_timestamp({_TYPE_2025_UNIX}) THEN {of_2024} "
        f"WHEN e.block_timestamp < to_timestamp({_V18_UNIX}) THEN {of_2025} ELSE {since_v18} END"
    )


RENTS: Final = one_row_per_event(
    STORAGE_RENTS,
    "storage_rent",
    {
        "payer": "e.body->>'payer'",
        "units": whole_number("units"),
        "unit_type": _by_time("'legacy'", "'2024'", "'2025'", "'2025'"),
        "rented_at": "e.block_timestamp",
        "expires_at": f"e.block_timestamp + {_by_time('4', '3', '2', '1')} * interval '365 days'",
    },
)
