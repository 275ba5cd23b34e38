"""Users chosen on the command line that are not replicated, because only targets are."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from fc_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from fc_pipeline.replica import Replica

__all__ = ["describe_left_out", "left_out", "named_fids"]

_MAX_NAMED = 10


def left_out(replica: "Replica", fids: Collection[int]) -> list[int]:
    """The chosen users who are no targets; empty if every user is replicated.

    Raises ConfigError if none of them is a target.
    """
    if replica.targets is None:
        return []
    from fc_pipeline.targets import directory

    with replica.engine.connect() as connection:
        others = directory.not_targets(connection, fids)
    if len(others) == len(set(fids)):
        raise ConfigError(
            f"{_named(others)} no target{'s' if len(others) > 1 else ''}, and only targets are replicated "
            "(FC_TARGETS=set)",
            hint=f"`fc-pipeline targets why {others[0]}` says why; `fc-pipeline targets add {others[0]}` changes it",
        )
    return others


def describe_left_out(fids: Collection[int]) -> str:
    """A line for people."""
    return f"{_named(sorted(fids))} no target{'s' if len(fids) > 1 else ''}, and left out"


def named_fids(fids: list[int]) -> str:
    """Some of them by number, such as `FIDs 3, 12`."""
    listed = ", ".join(map(str, fids[:_MAX_NAMED])) + (", …" if len(fids) > _MAX_NAMED else "")
    return f"FIDs {listed}" if len(fids) > 1 else f"FID {listed}"


def _named(fids: list[int]) -> str:
    return f"{named_fids(fids)} {'are' if len(fids) > 1 else 'is'}"
