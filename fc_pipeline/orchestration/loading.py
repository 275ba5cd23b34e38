"""What waits while tables are loaded in bulk: whatever would write them, or read them through."""

from typing import Final

from fc_pipeline.replica import Replica
from fc_pipeline.store import bulk_load

__all__ = ["reason_while_loading"]

_REASON: Final = "tables are being loaded in bulk (fc-pipeline bootstrap): this waits until they are"


def reason_while_loading(replica: Replica) -> str | None:
    """Why nothing is launched; None while no load is under way."""
    return _REASON if bulk_load.is_under_way(replica.engine) else None
