"""`storage`: a view of what each FID may keep: units rented, lent and borrowed, by type (protocol-tables 2.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fc_pipeline.tables.tier_purchases import PRO_UNTIL

__all__ = ["STORAGE_VIEW", "View"]


@dataclass(frozen=True, slots=True)
class View:
    """A view: what it shows, its query, and what its columns mean."""

    description: str
    query: str
    columns: Mapping[str, str]


# What one unit holds, by its type (hub-api 7.3).
_UNITS: Final = {
    "casts_limit": (5000, 2000, 100),
    "links_limit": (2500, 1000, 200),
    "reactions_limit": (2500, 1000, 200),
    "user_data_limit": (50, 50, 25),
    "verifications_limit": (25, 25, 5),
    "username_proofs_limit": (5, 5, 2),
}
_LIMITS: Final = ", ".join(
    f"f.net * CASE f.unit_type WHEN 'legacy' THEN {legacy} WHEN '2024' THEN {of_2024} ELSE {of_2025} END AS {name}"
    for name, (legacy, of_2024, of_2025) in _UNITS.items()
)

STORAGE_VIEW: Final = View(
    "A view: what each user may keep now, one row per type of unit. A user's limit is the sum over the types.",
    # The node subtracts without a sign: who has lent more than is left has none of the own (protocol-tables 2.3).
    f"""
SELECT f.fid, f.unit_type, f.rented, f.lent, f.borrowed, f.net, f.next_expiry, {_LIMITS}, {PRO_UNTIL} AS pro_until
FROM (
  SELECT l.fid, l.unit_type, sum(l.rented)::bigint AS rented, sum(l.lent)::bigint AS lent,
    sum(l.borrowed)::bigint AS borrowed,
    (greatest(sum(l.rented) - sum(l.lent), 0) + sum(l.borrowed))::bigint AS net, min(l.expires_at) AS next_expiry
  FROM (
    SELECT fid, unit_type, units AS rented, 0 AS lent, 0 AS borrowed, expires_at
    FROM public.storage_rents WHERE expires_at > now() AND deleted_at IS NULL
    UNION ALL SELECT fid, unit_type, 0 AS rented, units AS lent, 0 AS borrowed, NULL::timestamptz AS expires_at
    FROM public.storage_lends WHERE deleted_at IS NULL
    UNION ALL SELECT to_fid AS fid, unit_type, 0 AS rented, 0 AS lent, units AS borrowed,
      NULL::timestamptz AS expires_at FROM public.storage_lends WHERE deleted_at IS NULL
  ) AS l GROUP BY l.fid, l.unit_type
) AS f
""",
    {
        "fid": "The user",
        "unit_type": "legacy, 2024 or 2025: how much a unit holds, by when it was rented",
        "rented": "Units rented and not over",
        "lent": "Units lent to others",
        "borrowed": "Units that others lend",
        "net": "Units that count: what is left of the rented ones, and the borrowed ones",
        "next_expiry": "When the next rented units end",
        **{
            name: f"How many {name.removesuffix('_limit')} these units hold; a user's limit is the sum"
            for name in _UNITS
        },
        "pro_until": "When Pro ends that was bought for the user; null: never bought",
    },
)
