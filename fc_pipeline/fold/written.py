"""How many rows of a table a transaction wrote."""

from dataclasses import dataclass

__all__ = ["Written"]


@dataclass(frozen=True, slots=True)
class Written:
    """Rows of one table that a transaction inserted, updated, or marked as deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(self.inserted + other.inserted, self.updated + other.updated, self.deleted + other.deleted)

    @property
    def rows(self) -> int:
        """All rows written."""
        return self.inserted + self.updated + self.deleted
