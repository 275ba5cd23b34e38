"""The merges of a micro-batch: staged rows into tables, each by a statement that is prepared once per session."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from fc_pipeline.fold import statements
from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.profiles import UPSERT_PROFILES
from fc_pipeline.fold.written import Written
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline.tables.user_profiles import USER_PROFILES

__all__ = ["Merges"]


@dataclass
class Merges:
    """Merges what is staged in a session, inside its transaction, and counts what is written."""

    session: WriterSession
    _planned: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False)
    _early: dict[str, Written] = field(default_factory=dict[str, Written], init=False, repr=False)
    _versions: list[npt.NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)

    def forget_plans(self) -> None:
        """The session is a new one, in which nothing is prepared."""
        self._planned.clear()

    def begin(self) -> None:
        """A transaction begins, of which nothing is written yet."""
        self._versions.clear()
        self._early = {}

    @property
    def events_written(self) -> int:
        """How many events the transaction wrote rows of so far; one with rows in several tables counts once."""
        return len(np.unique(np.concatenate(self._versions))) if self._versions else 0

    def merge(self, batch: MicroBatch) -> dict[str, Written]:
        """Merge a staged micro-batch; what was written per table, `merge_early` included."""
        written = {name: self.counted(statements.merge(MESSAGE_TABLES[name])) for name in batch.rows}
        for name, one in self._early.items():
            written[name] = written.get(name, Written()) + one
        if LINKS.name in batch.tables:
            written[LINKS.name] = written.get(LINKS.name, Written()) + self._mask_links(batch)
        if batch.profile_fids is not None:
            written[USER_PROFILES.name] = self.counted(UPSERT_PROFILES) if len(batch.profile_fids) else Written()
        if batch.activity is not None:
            written[FID_ACTIVITY.name] = self.counted(statements.add_activity()) if len(batch.activity) else Written()
        return written

    def merge_early(self) -> None:
        """Merge what is staged of what may change the target set."""
        self.session.execute(statements.KEYED_PLANS)
        self._early = {
            ON_CHAIN_EVENTS.name: self.counted(statements.merge(ON_CHAIN_EVENTS)),
            LINKS.name: self.counted(statements.merge(LINKS)),
        }
        self.counted(statements.merge(LINK_COMPACTIONS))
        for mask in (statements.mask_by_new_compactions, statements.mask_staged_links):
            self._early[LINKS.name] += Written(deleted=self.session.execute(mask)[0][0])
        self.session.execute(statements.FREE_PLANS)

    def counted(self, statement: str) -> Written:
        """Execute a merge. Its plan, which costs as much as a small micro-batch's rows, is made once per session."""
        if statement not in self._planned:
            name = f"fold_{len(self._planned)}"
            self.session.execute(f"PREPARE {name} AS {statement}")
            self._planned[statement] = name
        found = self.session.read(f"EXECUTE {self._planned[statement]}")
        if "versions" in found.column_names:
            self._versions += [pc.list_flatten(chunk).to_numpy() for chunk in found["versions"].chunks]
        inserted, updated, deleted = (found[name][0].as_py() for name in ("inserted", "updated", "deleted"))
        return Written(inserted, updated, deleted)

    def _mask_links(self, batch: MicroBatch) -> Written:
        deleted = 0
        if len(batch.compactions):
            self.counted(statements.merge(LINK_COMPACTIONS))
            deleted += self.session.execute(statements.mask_by_new_compactions)[0][0]
        if LINKS.name in batch.rows:
            deleted += self.session.execute(statements.mask_staged_links)[0][0]
        return Written(deleted=deleted)
