"""How large the raw log is, by one listing of the lake."""

from fc_pipeline.config.settings import Settings
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics.families import Sample

__all__ = ["read_lake"]


def read_lake(settings: Settings) -> list[Sample]:
    """Its files and their size. Raises LakeError where it cannot be listed; nothing where there is none yet."""
    files = EventLog.open(settings.lake_uri, create=False).all_files()
    return [f.LAKE_FILES.of(len(files)), f.LAKE_BYTES.of(sum(file.size_bytes for file in files))]
