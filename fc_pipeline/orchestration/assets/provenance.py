"""Tags that say of what a materialisation was made, by which the UI finds partitions "unsynced".

Dagster adds them to what a step returns, not to what it logs while it works, as ours do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from dagster import AssetKey, DagsterInstance
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from fc_pipeline.orchestration.names import Names

__all__ = ["DATA_VERSION_TAG", "PartitionProvenance"]


@dataclass
class PartitionProvenance:
    """The provenance of one partition's materialisations in one report, where sources are logged first."""

    instance: DagsterInstance
    names: Names
    partition: str
    _sources: dict[AssetKey, dict[str, str]] = field(default_factory=dict[AssetKey, dict[str, str]], init=False)

    def tags(self, code_version: str | None, sources: Iterable[AssetKey]) -> dict[str, str]:
        """The code version of an asset that has one, and the newest materialisations of its declared sources."""
        if code_version is None:
            return {}
        tags = {CODE_VERSION_TAG: code_version}
        for source in sources:
            if source not in self._sources:
                self._sources[source] = self._of_source(self.names.key(source))
            tags |= self._sources[source]
        return tags

    def _of_source(self, key: AssetKey) -> dict[str, str]:
        record = self.instance.get_latest_data_version_record(key, is_source=False, partition_key=self.partition)
        materialization = record.asset_materialization if record else None
        tags = (materialization.tags if materialization else None) or {}
        return {
            get_input_data_version_tag(key): tags.get(DATA_VERSION_TAG, DEFAULT_DATA_VERSION.value),
            get_input_event_pointer_tag(key): str(record.storage_id) if record else NULL_EVENT_POINTER,
        }
