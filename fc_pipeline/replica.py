"""The replica, opened from the settings: database, raw log, hubs."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
import sqlalchemy as sa

from fc_pipeline.config.settings import Settings
from fc_pipeline.config.variables import is_to_warn_of
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.lake.same_lake import agree_on_lake, refuse_another_lake
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.store import ledger
from fc_pipeline.store.partitions import otherwise_partitioned
from fc_pipeline.store.pooling import require_own_session
from fc_pipeline.store.retry import POSTGRES_ERRORS, explained
from fc_pipeline.store.schema import ensure_schema, require_schema
from fc_pipeline.store.session import make_engine
from fc_pipeline.targets import owner
from fc_pipeline.targets.owner import OwnerSettings

__all__ = ["Replica", "grpc_endpoints", "hub_endpoints", "open_replica", "open_replica_to_read"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Replica:
    """The database (migrated), the raw log, and where the hubs are; `is_read_only` forbids writing to either."""

    settings: Settings
    engine: sa.Engine
    log: EventLog
    is_read_only: bool = False

    @property
    def hub_endpoints(self) -> list[HubEndpoint]:
        """The hubs in order of preference."""
        return hub_endpoints(self.settings)

    @property
    def targets(self) -> TargetAccess | None:
        """How to look up targets; None if every user is replicated."""
        return TargetAccess(self.settings.redis_url) if self.settings.targets == "set" else None

    def shard_count(self) -> int | None:
        """How many data shards the network has: what a hub said or, before the first contact, the raw log's highest.

        A database that was lost is rebuilt from its log without a hub. None where nothing is known.
        """
        with self.engine.connect() as connection:
            known = ledger.shard_count(connection)
        return known if known is not None else self.log.highest_shard()

    @property
    def owner_settings(self) -> OwnerSettings:
        """The settings of the target set."""
        settings = self.settings
        return OwnerSettings(
            tuple(sorted(settings.root_fids)),
            tuple(sorted(settings.client_fids)),
            tuple(sorted(settings.deny_fids)),
            settings.followed_per_root,
            settings.target_mentions,
        )


def hub_endpoints(settings: Settings) -> list[HubEndpoint]:
    """The hubs in order of preference, each with its headers and request budget, shared where there is a Redis.

    Raises ConfigError where a header cannot be sent.
    """
    return [
        HubEndpoint(url, settings.hub_headers_for(url), settings.hub_rps_for(url), settings.redis_url)
        for url in settings.hub_urls
    ]


def grpc_endpoints(settings: Settings) -> list[HubEndpoint]:
    """Where hubs speak gRPC, in order of preference. Raises ConfigError where a header cannot be sent."""
    return [
        HubEndpoint(url, settings.hub_headers_for(url), settings.hub_rps_for(url), settings.redis_url)
        for url in settings.hub_grpc
    ]


@contextmanager
def open_replica(
    settings: Settings, *, may_be_empty: bool = False, may_be_another_lake: bool = False
) -> Generator[Replica]:
    """Open the replica that the settings describe; every URL in them must be filled in.

    Where only targets are replicated and there is no set yet, it is made by the settings. Raises ConfigError if a newer
    release migrated the database, a pooler shares its sessions, it was filled in another mode of FC_TARGETS, there is
    no target, unless it `may_be_empty`, or the lake is not the database's, unless it `may_be_another_lake`; LakeError
    if the lake cannot be opened, PostgresError if Postgres cannot be reached or does not let the role make the tables.
    """
    engine = make_engine(settings.libpq_url())
    try:
        _ensure_schema(engine, settings)
        owner.declare_mode(engine, settings.targets)
        lake = LakeStorage.open(settings.lake_uri)
        if not may_be_another_lake:
            agree_on_lake(engine, lake, settings.lake_uri)
        replica = Replica(settings, engine, EventLog(lake))
        if settings.targets == "set" and owner.is_empty(engine) and not (may_be_empty and not settings.root_fids):
            owner.adopt(engine, replica.owner_settings)
        yield replica
    finally:
        engine.dispose()


@contextmanager
def open_replica_to_read(
    settings: Settings, *, may_be_empty: bool = False, may_be_another_lake: bool = False
) -> Generator[Replica]:
    """The same, read-only: nothing is created, migrated or recorded, and every transaction is READ ONLY.

    Raises SchemaMissing if the database lacks tables or has them as an older release made them, ConfigError if a newer
    one migrated it, it was filled in another mode of FC_TARGETS, or from another lake unless it `may_be_another_lake`,
    or there is no target, unless it `may_be_empty`, PostgresError if Postgres cannot be reached or does not let the
    role read.
    """
    engine = make_engine(settings.libpq_url())
    reading = engine.execution_options(postgresql_readonly=True)
    try:
        try:
            require_own_session(settings.libpq_url())
            require_schema(reading)
            owner.refuse_other_mode(reading, settings.targets)
        except (*POSTGRES_ERRORS, psycopg2.Error) as error:
            raise explained(error) from error
        lake = LakeStorage.open(settings.lake_uri, create=False)
        if not may_be_another_lake:
            refuse_another_lake(reading, lake, settings.lake_uri)
        replica = Replica(settings, reading, EventLog(lake), is_read_only=True)
        if settings.targets == "set" and not may_be_empty:
            owner.refuse_empty_set(reading, replica.owner_settings)
        yield replica
    finally:
        engine.dispose()


def _ensure_schema(engine: sa.Engine, settings: Settings) -> None:
    try:
        require_own_session(settings.libpq_url())
        ensure_schema(engine, settings.pg_partitions)
        if settings.pg_partitions is not None:
            _warn_of_partitions(engine, settings.pg_partitions)
    except (*POSTGRES_ERRORS, psycopg2.Error) as error:
        raise explained(error) from error


def _warn_of_partitions(engine: sa.Engine, partitions: int) -> None:
    """Warn of tables that were made otherwise, and stay so."""
    with engine.connect() as connection:
        others = otherwise_partitioned(connection, partitions)
    if others and is_to_warn_of("FC_PG_PARTITIONS"):
        _log.warning(
            "FC_PG_PARTITIONS=%d has no effect on %s, which were made otherwise: docs/postgres.md#partitions says how "
            "to load them anew",
            partitions,
            ", ".join(others),
        )
