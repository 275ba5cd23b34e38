"""What ends the transaction of a part: its records in quarantine, and its line."""

import time

from fc_pipeline.errors import LeaseLost
from fc_pipeline.fold import quarantine
from fc_pipeline.fold.quarantine import Quarantined
from fc_pipeline.store.bulk_load import PART_DONE, LoadPart
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["finish_part", "write_quarantined"]


def write_quarantined(session: WriterSession, shard: int, records: list[Quarantined]) -> None:
    """Write what became no row, or not all of it, in a session's transaction."""
    if records:
        session.execute(quarantine.CREATE_STAGING)
        session.copy("stage_quarantine", quarantine.staged(shard, records))
        session.execute(quarantine.MERGE_OF_SNAPSHOTS)


def finish_part(session: WriterSession, stage: str, part: LoadPart, records: int, started: float) -> None:
    """Note in a session's transaction that a part is loaded. Raises LeaseLost if another process has done so."""
    done = (stage, part.shard, part.first_fid, records, time.monotonic() - started)
    if not session.execute(PART_DONE, done):
        raise LeaseLost(
            f"the part of shard {part.shard} from FID {part.first_fid} was loaded by another process",
            hint="only one bootstrap works at a time; the other one goes on",
        )
