"""What a copy of the pipeline calls its assets, jobs and resources: as they are declared, or all behind a prefix."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from dagster import AssetKey

__all__ = ["Names", "bare"]


class _OfAsset(Protocol):
    @property
    def asset_key(self) -> AssetKey | str | None: ...
    def _replace(self, *, asset_key: AssetKey) -> Self: ...


_Event = TypeVar("_Event")


@dataclass(frozen=True)
class Names:
    """The names of one copy. Without a prefix they are those of the declarations."""

    key_prefix: tuple[str, ...] = ()

    @property
    def are_prefixed(self) -> bool:
        """Whether this is a copy in somebody's own definitions."""
        return bool(self.key_prefix)

    def of(self, name: str) -> str:
        """The name of a job, an op, a sensor, a schedule or a resource."""
        return "_".join((*self.key_prefix, name))

    def key(self, asset: AssetKey | str) -> AssetKey:
        """The key of an asset."""
        return AssetKey([*self.key_prefix, *AssetKey.from_coercible(asset).path])

    def event(self, event: _Event) -> _Event:
        """A materialisation, an observation or a check result of a declared asset, as one of this copy's asset."""
        found: _OfAsset = event  # pyright: ignore[reportAssignmentType] - Dagster's events are named tuples of this form
        if not self.key_prefix or found.asset_key is None:
            return event
        return found._replace(asset_key=self.key(found.asset_key))  # pyright: ignore[reportReturnType, reportPrivateUsage]

    def events(self, events: Iterable[_Event]) -> list[_Event]:
        """Several of them."""
        return [self.event(one) for one in events]


def bare(key: AssetKey) -> str:
    """The declared name of a copy's asset."""
    return key.path[-1]
