"""A thread that renews a run's leases at fixed intervals while its process lives."""

import logging
import threading
from types import TracebackType
from typing import Final, Self

import sqlalchemy as sa

from fc_pipeline.store import lease
from fc_pipeline.store.retry import POSTGRES_ERRORS, explained

__all__ = ["RENEW_SECONDS", "LeaseHeartbeat"]

_log = logging.getLogger(__name__)

RENEW_SECONDS: Final = lease.HEARTBEAT_TIMEOUT_SECONDS / 6
"""Several heartbeats may fail or come late before a lease runs out."""
END_SECONDS: Final = 2.0
"""How long a run, at its end, waits for a heartbeat that Postgres does not answer; the thread is a daemon."""


class LeaseHeartbeat:
    """Renews the leases of `holder` every `renew_seconds` while its block runs, even if the block is waiting.

    It acquires nothing: a lease that another run has taken, or whose session is gone, stays lost. A heartbeat that
    Postgres refuses is logged, and the next one is sent at its time.
    """

    def __init__(self, engine: sa.Engine, holder: str, *, renew_seconds: float = RENEW_SECONDS) -> None:
        self._engine = engine
        self._holder = holder
        self._renew_seconds = renew_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"heartbeat of {holder}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(END_SECONDS)

    def _renew(self) -> None:
        while not self._ended.wait(self._renew_seconds):
            try:
                lease.renew(self._engine, holder=self._holder)
            except POSTGRES_ERRORS as error:  # the run's own session finds out whether Postgres is gone
                _log.warning("lease_not_renewed holder=%s reason=%r", self._holder, explained(error).message)
