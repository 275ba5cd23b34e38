"""What a look at the system has found: the conditions that are not as they should be, and what could not be looked at.

Belongs here: these words alone. What they follow from is read by `sources` here and by `orchestration.watching`.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

__all__ = ["Condition", "Reading", "Severity", "area_of", "merged"]


class Severity(StrEnum):
    """Red means act, yellow means look."""

    YELLOW = "yellow"
    RED = "red"

    @property
    def rank(self) -> int:
        """The higher, the worse."""
        return 1 if self is Severity.YELLOW else 2


class Condition(msgspec.Struct, frozen=True):
    """One thing that is not as it should be.

    `key` names it for as long as it stands: an area, a colon, and what it is within the area. It counts once it has
    stood for `after_seconds`. `runbook` is a place in docs/, `link` a page of the UI.
    """

    key: str
    severity: Severity
    title: str
    detail: str = ""
    remedy: str = ""
    runbook: str = ""
    link: str = ""
    after_seconds: float = 0.0


class Reading(msgspec.Struct, frozen=True):
    """All that was found in one look; of the `unread` areas nothing is known, neither that all is well nor that not."""

    conditions: tuple[Condition, ...] = ()
    unread: frozenset[str] = frozenset()


def area_of(key: str) -> str:
    """The area of a condition's key."""
    return key.partition(":")[0]


def merged(readings: Iterable[Reading]) -> Reading:
    """Several readings as one."""
    found = list(readings)
    return Reading(
        tuple(condition for reading in found for condition in reading.conditions),
        frozenset(area for reading in found for area in reading.unread),
    )
