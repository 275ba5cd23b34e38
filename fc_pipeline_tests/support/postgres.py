"""Databases of a test's own on the worker's Postgres."""

import os
import re
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from fc_pipeline.config.settings import Settings
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.copies import Copies

PARTITIONS: Final = int(os.environ["TEST_PARTITIONS"]) if "TEST_PARTITIONS" in os.environ else None
"""In so many partitions the large tables of migrated databases are made: `make test-partitions` says 16."""
INDEXES_IF_ANY: Final = "SELECT 1" if PARTITIONS is None else "SET enable_seqscan = off"
"""Before a plan is looked at: of a test's rows a partition has so few that it is read through, were there a choice."""
_TEMPLATE = "template_migrated"
_copies: dict[str, Copies] = {}
"""Of each server, by its URL."""


@dataclass(frozen=True)
class Database:
    """A Postgres database: `url` for libpq and ADBC, `sqlalchemy_url` and `engine` for SQLAlchemy."""

    name: str
    url: str = field(repr=False)
    sqlalchemy_url: str = field(repr=False)
    engine: Engine = field(repr=False)


@contextmanager
def fresh_database(postgres: EmbeddedPostgres, *, migrated: bool = True) -> Generator[Database]:
    """A fresh database, for a test that needs a second one, or for a whole module."""
    name = f"test_{uuid.uuid4().hex}"
    settings = settings_of(postgres.url())
    with administering(postgres.url()) as admin:
        if migrated:
            _migrated(settings).take(admin, name)
        else:
            admin.execute(text(f'CREATE DATABASE "{name}" STRATEGY file_copy'))
    engine = create_engine(settings.sqlalchemy_url(name))
    yield Database(name, settings.libpq_url(name), settings.sqlalchemy_url(name), engine)
    engine.dispose()
    with administering(postgres.url()) as admin:
        if migrated:
            _migrated(settings).give_back(admin, name)
        else:
            admin.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


def settings_of(postgres_url: str) -> Settings:
    """Settings that say no more than where Postgres is."""
    return Settings(data_dir=Path("unused"), lake_uri="unused", postgres_url=postgres_url)


@contextmanager
def administering(postgres_url: str) -> Generator[Connection]:
    """A connection to that server for statements on whole databases."""
    url = settings_of(postgres_url).sqlalchemy_url("postgres")
    with create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        yield connection


def _migrated(settings: Settings) -> Copies:
    """The copies of a migrated database; migrating each of them would take most of a test's time."""

    def migrate(name: str) -> None:
        engine = create_engine(settings.sqlalchemy_url(name), poolclass=NullPool)
        ensure_schema(engine, PARTITIONS)
        engine.dispose()

    return _copies.setdefault(settings.libpq_url("postgres"), Copies(settings, _TEMPLATE, migrate))


def table_names(engine: sa.Engine) -> set[str]:
    inspector = sa.inspect(engine)
    public = set(inspector.get_table_names())
    return public | {f"{SCHEMA}.{name}" for name in inspector.get_table_names(SCHEMA)}


def table_of(relation: str) -> str:
    """The table that a relation of a plan, or of the server's statistics, is or is a partition of."""
    return re.sub(r"_p\d+$", "", relation)
