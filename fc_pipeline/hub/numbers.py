"""The hub's numbers, bounded by what the columns of tables can hold."""

from typing import Annotated

from msgspec import Meta

__all__ = ["BigInt", "Fid", "Seconds"]

BigInt = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""An unsigned number that fits a Postgres bigint."""

Fid = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""A user's number where there must be one; a hub refuses messages that say 0 (hub-api T14)."""

Seconds = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""A 32-bit timestamp in seconds; the epoch is the field's own (hub-api T5)."""
