"""Which copies of the pipeline an instance of Dagster has."""

from dagster import DagsterInstance

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.names import Names

__all__ = ["copies_in"]


def copies_in(instance: DagsterInstance) -> list[Names]:
    """The names of each copy that has ever reported its raw log; of an instance that has none, those of `up`."""
    prefixes = {tuple(key.path[:-1]) for key in instance.all_asset_keys() if key.path[-1] == RAW_LOG}
    return [Names(prefix) for prefix in sorted(prefixes)] or [Names()]
