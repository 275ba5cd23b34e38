"""Fixtures for every room: real servers, one of each per session, and an empty database per test."""

import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from fc_pipeline.services.postgres import TUNING, EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.settings import Settings

_SHARED_FIXTURES = Path(__file__).resolve().parent.parent.parent / "shared" / "fixtures"


@dataclass(frozen=True)
class Database:
    """An empty Postgres database: `url` for libpq and ADBC, `sqlalchemy_url` and `engine` for SQLAlchemy."""

    name: str
    url: str = field(repr=False)
    sqlalchemy_url: str = field(repr=False)
    engine: Engine = field(repr=False)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """The session's embedded Postgres, running."""
    # Nobody pulls the plug on a test's data, so the disk need not be waited for.
    tuning = {**TUNING, "fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), tuning)
    server.acquire()
    yield server
    server.release()


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh empty database; dropped at the end, even where connections to it are still open."""
    with fresh_database(postgres) as made:
        yield made


@contextmanager
def fresh_database(postgres: EmbeddedPostgres) -> Generator[Database]:
    """The same for a test that needs a second one, or one for a whole module."""
    name = f"test_{uuid.uuid4().hex}"
    settings = Settings(data_dir=postgres.data_dir, lake_uri="unused", postgres_url=postgres.url())
    admin = create_engine(settings.sqlalchemy_url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine = create_engine(settings.sqlalchemy_url(name))
    yield Database(name, settings.libpq_url(name), settings.sqlalchemy_url(name), engine)
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def embedded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The session's embedded Redis, running."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    server.acquire()
    yield server
    server.release()


@pytest.fixture
def redis_url(embedded_redis: EmbeddedRedis) -> str:
    """The URL of the session's Redis, emptied for this test."""
    url = embedded_redis.url()
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """The folder of recorded hub data; tests that need it are skipped where it is absent."""
    if not _SHARED_FIXTURES.is_dir():
        pytest.skip(f"recorded hub data is not here ({_SHARED_FIXTURES})")
    return _SHARED_FIXTURES
