"""What results of `state_root` remember for the next one, in their metadata: tried healings, and what was proved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dagster import AssetCheckEvaluation, AssetCheckKey, AssetCheckSeverity, DagsterInstance, MetadataValue

from fc_pipeline.orchestration.checks.newest import newest_evaluation
from fc_pipeline.orchestration.names import Names

__all__ = ["MAX_HEALING_ATTEMPTS", "RECONCILED_FIDS", "STATE_ROOT", "StateMemory", "is_red"]

RECONCILED_FIDS: Final = "reconciled_fids"
STATE_ROOT: Final = "state_root"
MAX_HEALING_ATTEMPTS: Final = 3
"""So often a user who differs is compared with the hub."""
_ATTEMPTS: Final = "healing_attempts"
_PROVED_SINCE: Final = "proved_since"


@dataclass(frozen=True)
class StateMemory:
    """By FID that differs how often it was compared with the hub in vain; by shard what was proved last.

    `proved_since` is the height from which on the ledger had every event when the shard's root was proved: while that
    holds, nothing is unknown of its past, wherever the feed begins.
    """

    attempts: Mapping[int, int] = field(default_factory=dict[int, int])
    proved_since: Mapping[int, int] = field(default_factory=dict[int, int])

    @classmethod
    def of(cls, instance: DagsterInstance, names: Names) -> "StateMemory":
        """As the newest result of the check has it."""
        found = _newest(instance, names)
        return cls() if found is None else cls(_numbers(found, _ATTEMPTS), _numbers(found, _PROVED_SINCE))

    def metadata(self) -> dict[str, MetadataValue[Any]]:
        """The same as metadata of a result."""
        told = {_ATTEMPTS: self.attempts, _PROVED_SINCE: self.proved_since}
        return {name: MetadataValue.json({str(key): n for key, n in one.items()}) for name, one in told.items()}

    def to_compare(self, most: int) -> list[int]:
        """The FIDs to compare now, ascending: not those known to be in vain; those that were tried least first."""
        left = sorted((times, fid) for fid, times in self.attempts.items() if times < MAX_HEALING_ATTEMPTS)
        return sorted(fid for _, fid in left[:most])

    def after_comparing(self, fids: list[int]) -> "StateMemory":
        """With one more attempt of each of these."""
        return StateMemory({fid: times + (fid in fids) for fid, times in self.attempts.items()}, self.proved_since)


def is_red(instance: DagsterInstance, names: Names) -> bool:
    """Whether the newest result of the check is."""
    found = _newest(instance, names)
    return found is not None and not found.passed and found.severity is AssetCheckSeverity.ERROR


def _newest(instance: DagsterInstance, names: Names) -> AssetCheckEvaluation | None:
    return newest_evaluation(instance, AssetCheckKey(names.key(RECONCILED_FIDS), STATE_ROOT))


def _numbers(found: AssetCheckEvaluation, name: str) -> dict[int, int]:
    told: Any = found.metadata[name].value if name in found.metadata else {}
    return {int(key): int(number) for key, number in told.items()}
