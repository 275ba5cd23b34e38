"""The connection through which what hubs list is compared and folded, and the target set where only that is kept."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from fc_pipeline.errors import SessionLost
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.reconcile.targets import ReconciledTargets
from fc_pipeline.store.writer_session import WriterSession

__all__ = ["ReconcilingSession"]


@dataclass
class ReconcilingSession:
    """One ADBC connection of its own, with temporary tables. Not for several threads at once.

    With `targets`, what concerns no target is left out. One that `is_read_only` can only compare: Postgres itself keeps
    it from writing.
    """

    libpq_url: str = field(repr=False)
    run_id: str
    targets: TargetAccess | None = None
    is_read_only: bool = False
    _set: ReconciledTargets | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._session = WriterSession(
            self.libpq_url,
            self.run_id,
            on_open=self._prepare,
            on_close=self._close_set,
            lost=self._lost,
            is_read_only=self.is_read_only,
        )

    def __enter__(self) -> Self:
        self._session.open_through_faults()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def reopen(self) -> None:
        """Begin a new session after this one was lost."""
        self._session.reopen()

    def _creating(self) -> Iterable[str]:
        """Statements for the temporary tables."""
        raise NotImplementedError

    def _prepare(self) -> None:
        for statement in self._creating():
            self._session.execute(statement)
        if self.targets is not None:
            self._set = ReconciledTargets(self.targets, self._session)

    def _close_set(self) -> None:
        if self._set is not None:
            self._set.close()
            self._set = None

    def _lost(self) -> SessionLost:
        return SessionLost(
            f"the Postgres session of run {self.run_id} is gone: the server was restarted, or the connection cut",
            hint="the next run over the same users goes on from there",
        )
