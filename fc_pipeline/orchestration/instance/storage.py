"""Dagster's own storage: the database `dagster` on the pipeline's Postgres, files in the data folder.

dagster.yaml names these classes, so that every Dagster command finds both through our settings, whatever its current
folder: the embedded server, started if necessary, or FC_POSTGRES_URL. No password is in Dagster's files.
"""

from contextlib import closing
from typing import Any, Final, Self

import psycopg2
import sqlalchemy as sa
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage

from fc_pipeline.causes import cause_of
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError, PostgresError, ServiceError
from fc_pipeline.orchestration.instance.instances import DAGSTER_DATABASE
from fc_pipeline.services import open_services_for_process
from fc_pipeline.store.pooling import require_own_session
from fc_pipeline.store.session import UTF8_DATABASE, connect, make_engine

__all__ = ["DAGSTER_DATABASE", "PipelineArtifactStorage", "PipelineComputeLogManager", "PipelineInstanceStorage"]

STATEMENT_TIMEOUT: Final = "60s"
POOL_RECYCLE_SECONDS: Final = 3600
KEPT_CONNECTIONS: Final = 1
MAX_CONNECTIONS: Final = 10
"""Connections of one process; further requests wait for a free one."""

_UNUSED_URL: Final = "postgresql+psycopg2://"
"""For the engines that Dagster creates, which never connect: ours are used."""


class _OurSessions:
    """Common to Dagster's Postgres storages: they use our sessions, whatever engine Dagster creates."""

    engine: sa.Engine

    @property
    def _engine(self) -> sa.Engine:
        return self.engine

    @_engine.setter
    def _engine(self, made_by_dagster: sa.Engine) -> None:
        """Left unused."""

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        """Keep our engine: it pools connections in every process, Dagster's only in its webserver."""


class PinnedPostgresRunStorage(_OurSessions, PostgresRunStorage):
    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        PostgresRunStorage.__init__(self, _UNUSED_URL)

    def dispose(self) -> None:
        """Close the pooled connections of all three storages."""
        super().dispose()
        self.engine.dispose()


class PinnedPostgresEventLogStorage(_OurSessions, PostgresEventLogStorage):
    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        PostgresEventLogStorage.__init__(self, _UNUSED_URL)


class PinnedPostgresScheduleStorage(_OurSessions, PostgresScheduleStorage):
    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        PostgresScheduleStorage.__init__(self, _UNUSED_URL)


class PipelineInstanceStorage(DagsterPostgresStorage):
    """dagster-postgres' storage in sessions of ours, whose URL comes from our settings.

    Its three parts share one pool. Dagster would keep a connection per part in its webserver, and elsewhere connect for
    each event, which takes as long as storing it.
    """

    def __init__(self, engine: sa.Engine, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._run_storage = PinnedPostgresRunStorage(engine)
        self._event_log_storage = PinnedPostgresEventLogStorage(engine)
        self._schedule_storage = PinnedPostgresScheduleStorage(engine)
        DagsterStorage.__init__(self)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No options: the settings define everything."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Open the storage, making its database if the server lacks it.

        Raises:
            ConfigError: a setting is wrong, a database cannot hold the network's texts, or its sessions are shared.
            PostgresError: the server has no connection to spare, or does not let the role make the tables.
            ServiceError: the server does not start or does not answer.
        """
        try:
            settings = open_services_for_process(Settings.load(), need_hub=False, need_redis=False)
            _ensure_database(settings)
            # A pooler may have a mode per database; leadership and liveness are session locks here.
            require_own_session(settings.libpq_url(DAGSTER_DATABASE))
            engine = make_engine(
                settings.libpq_url(DAGSTER_DATABASE),
                settings={"statement_timeout": STATEMENT_TIMEOUT, "application_name": "fc_pipeline dagster"},
                isolation_level="AUTOCOMMIT",
                pool_size=KEPT_CONNECTIONS,
                max_overflow=MAX_CONNECTIONS - KEPT_CONNECTIONS,
                pool_recycle=POOL_RECYCLE_SECONDS,
            )
            return cls(engine, inst_data)
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, PostgresError):  # another database than that of the tables
                cause.message = f"the database {DAGSTER_DATABASE!r} of Dagster's own storage: {cause.message}"
            raise cause from error


def _ensure_database(settings: Settings) -> None:
    try:
        with closing(connect(settings.libpq_url())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(
                "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = %s", (DAGSTER_DATABASE,)
            )
            found = cursor.fetchone()
            if found is None:
                cursor.execute(f'CREATE DATABASE "{DAGSTER_DATABASE}" {UTF8_DATABASE}')
            elif found[0] != "UTF8":
                raise ConfigError(
                    f"the database {DAGSTER_DATABASE!r} of Dagster's own storage cannot hold every text: its encoding "
                    f"is {found[0]}, not UTF8",
                    hint=f"ALTER DATABASE {DAGSTER_DATABASE} RENAME TO {DAGSTER_DATABASE}_before; the next start makes "
                    "a right one",
                )
    except psycopg2.errors.DuplicateDatabase:
        return  # another process was faster
    except psycopg2.errors.InsufficientPrivilege as error:
        raise ServiceError(
            f"the Postgres server of FC_POSTGRES_URL has no database {DAGSTER_DATABASE!r} for Dagster's own storage",
            hint=f"as its administrator: CREATE DATABASE {DAGSTER_DATABASE} OWNER <the user of FC_POSTGRES_URL> "
            f"{UTF8_DATABASE}",
        ) from error
    except psycopg2.OperationalError as error:
        raise ServiceError(
            f"Postgres does not answer: {str(error).strip()}", hint="is FC_POSTGRES_URL right and the server up?"
        ) from error


class PipelineArtifactStorage(LocalArtifactStorage):
    """Dagster's local files, in `dagster` under the data folder."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No options: the settings define everything."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Raises ConfigError where a setting is wrong."""
        return cls(str(Settings.load().data_dir / "dagster"), inst_data=inst_data)


class PipelineComputeLogManager(LocalComputeLogManager):
    """The output of runs, in `dagster/compute_logs` under the data folder."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No options: the settings define everything."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Raises ConfigError where a setting is wrong."""
        return cls(str(Settings.load().data_dir / "dagster" / "compute_logs"), inst_data=inst_data)
