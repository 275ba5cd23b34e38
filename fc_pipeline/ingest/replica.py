"""What every piece of work on the replica needs, opened from the settings: database, raw log, hubs."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from fc_pipeline.errors import ConfigError, ServiceError
from fc_pipeline.fold.schema import ensure_schema
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.settings import Settings

__all__ = ["Replica", "open_replica"]


@dataclass(frozen=True)
class Replica:
    """The database (migrated), the raw log, and where the hubs are."""

    settings: Settings
    engine: sa.Engine
    log: EventLog

    @property
    def hub_endpoints(self) -> list[HubEndpoint]:
        """The hubs in order of preference, each with its headers and request budget, shared where there is a Redis."""
        settings = self.settings
        return [
            HubEndpoint(url, settings.hub_headers_for(url), settings.hub_rps_for(url), settings.redis_url)
            for url in settings.hub_urls
        ]


@contextmanager
def open_replica(settings: Settings) -> Generator[Replica]:
    """Open the replica that the settings describe; every URL in them must be filled in.

    Raises ConfigError if a newer release migrated the database or FC_TARGETS asks for what this release lacks,
    LakeError if the lake cannot be opened, ServiceError if Postgres cannot be reached.
    """
    if settings.targets != "all":
        raise ConfigError(
            f"FC_TARGETS={settings.targets}: this release replicates every user",
            hint="leave it unset, or FC_TARGETS=all",
        )
    engine = sa.create_engine(settings.sqlalchemy_url(), pool_pre_ping=True)
    try:
        _ensure_schema(engine)
        yield Replica(settings, engine, EventLog.open(settings.lake_uri))
    finally:
        engine.dispose()


def _ensure_schema(engine: sa.Engine) -> None:
    try:
        ensure_schema(engine)
    except OperationalError as error:
        raise ServiceError(
            f"Postgres cannot be used: {str(error.orig).strip()}", hint="is FC_POSTGRES_URL right and the server up?"
        ) from error
