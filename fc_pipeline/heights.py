"""Ranges of a shard's block heights, and what one set of them has that another lacks."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["HeightRange", "height_count", "holes", "overlap", "without"]


@dataclass(frozen=True, slots=True, order=True)
class HeightRange:
    """Heights `first`…`last` of a shard, inclusive."""

    first: int
    last: int


def holes(ranges: Sequence[HeightRange], first: int, last: int) -> list[HeightRange]:
    """The heights from `first` to `last` that ascending, disjoint `ranges` leave out."""
    missing: list[HeightRange] = []
    expected = first
    for folded in ranges:
        if folded.last < expected:
            continue
        if folded.first > last:
            break
        if folded.first > expected:
            missing.append(HeightRange(expected, folded.first - 1))
        expected = folded.last + 1
    if expected <= last:
        missing.append(HeightRange(expected, last))
    return missing


def without(ranges: Sequence[HeightRange], taken: Sequence[HeightRange]) -> list[HeightRange]:
    """The heights of `ranges` that none of `taken` has, which may overlap one another."""
    ascending = sorted(taken)
    return [left for one in ranges for left in holes(ascending, one.first, one.last)]


def overlap(ranges: Sequence[HeightRange], others: Sequence[HeightRange]) -> list[HeightRange]:
    """The heights of `ranges` that one of `others` has."""
    return without(ranges, without(ranges, others))


def height_count(ranges: Sequence[HeightRange]) -> int:
    """How many heights are in these ranges."""
    return sum(one.last - one.first + 1 for one in ranges)
