"""Do Postgres and the hubs answer?"""

import asyncio
from contextlib import closing
from typing import Final

import psycopg2

from fc_pipeline.alerts.condition import Condition, Reading, Severity
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import FcPipelineError
from fc_pipeline.plain_text import one_line
from fc_pipeline.replica import hub_endpoints
from fc_pipeline.services import with_running
from fc_pipeline.status.hub_reach import unreachable_hubs
from fc_pipeline.store.session import connect_at_once

__all__ = ["HUB_AREAS", "POSTGRES_AREAS", "read_hubs", "read_postgres"]

POSTGRES_AREAS: Final = frozenset({"postgres"})
HUB_AREAS: Final = frozenset({"hub"})

_RUNBOOK: Final = "docs/checks.md#red-runs-sensors-and-commands"
_POSTGRES_SECONDS: Final = 5
_HUB_SECONDS: Final = 5.0
_TWICE_SECONDS: Final = 15.0
"""What did not answer once may answer a moment later: two looks in turn decide."""


def read_postgres(settings: Settings) -> Reading:
    """Whether Postgres takes a session and answers in it."""
    reason = _postgres_problem(with_running(settings))
    if reason is None:
        return Reading()
    condition = Condition(
        "postgres:unreachable",
        Severity.RED,
        "Postgres does not answer",
        detail=reason,
        remedy="start it, or correct FC_POSTGRES_URL; what waits for it goes on by itself. Until then nothing is "
        "known of checks, runs and sensors",
        runbook=_RUNBOOK,
        after_seconds=_TWICE_SECONDS,
    )
    return Reading((condition,))


def _postgres_problem(settings: Settings) -> str | None:
    if settings.postgres_url is None:
        return "the embedded server does not run"
    try:
        with closing(connect_at_once(settings.libpq_url(), _POSTGRES_SECONDS)):
            return None
    except (psycopg2.Error, FcPipelineError) as error:
        return one_line(error)


def read_hubs(settings: Settings) -> Reading:
    """Which hubs do not answer: red where none does, else yellow."""
    settings = with_running(settings)
    if not settings.hub_urls:
        return Reading((_silent("the sample hub", "it does not run", Severity.RED),))
    silent = asyncio.run(unreachable_hubs(hub_endpoints(settings), _HUB_SECONDS))
    severity = Severity.RED if len(silent) == len(settings.hub_urls) else Severity.YELLOW
    return Reading(tuple(_silent(f"the hub {name}", reason, severity) for name, reason in silent.items()))


def _silent(name: str, reason: str, severity: Severity) -> Condition:
    others = "no other one does, so that nothing new is read" if severity is Severity.RED else "another one does"
    return Condition(
        f"hub:{name}",
        severity,
        f"{name} does not answer",
        detail=f"{reason}; {others}",
        remedy="is it up, and FC_HUB_URLS right? Otherwise name another one there",
        runbook=_RUNBOOK,
        after_seconds=_TWICE_SECONDS,
    )
