"""How many requests runs have sent to each hub: each run adds its own at its end."""

import logging
from typing import Final

import sqlalchemy as sa

from fc_pipeline.hub.request_counts import REQUEST_COUNTS
from fc_pipeline.store.retry import POSTGRES_ERRORS, explained

__all__ = ["note"]

_log = logging.getLogger(__name__)

_ADD: Final = sa.text(
    "INSERT INTO pipeline.hub_requests AS t (hub, requests, failures) VALUES (:hub, :requests, :failures) "
    "ON CONFLICT (hub) DO UPDATE SET requests = t.requests + excluded.requests, "
    "failures = t.failures + excluded.failures, noted_at = now()"
)


def note(engine: sa.Engine) -> None:
    """Add what this process has counted since it last did; where Postgres does not answer, the next run adds it."""
    counts = REQUEST_COUNTS.take()
    if not counts:
        return
    lines = [{"hub": hub, "requests": one.sent, "failures": one.failed} for hub, one in sorted(counts.items())]
    try:
        with engine.begin() as connection:
            connection.execute(_ADD, lines)
    except POSTGRES_ERRORS as error:
        REQUEST_COUNTS.put_back(counts)
        _log.warning("hub_requests_not_noted reason=%r", explained(error).message)
