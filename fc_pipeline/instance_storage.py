"""Where Dagster keeps its own things: the database `dagster` on the pipeline's Postgres, files in the data folder.

dagster.yaml names these classes, so that every Dagster command finds both by our settings, whatever its current folder:
the embedded server, started if need be, or FC_POSTGRES_URL. No password is in a file of Dagster's.
"""

from contextlib import closing
from typing import Any, Final, Self

import psycopg2
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from fc_pipeline.errors import ServiceError
from fc_pipeline.services import open_services_for_process
from fc_pipeline.settings import Settings

__all__ = ["DAGSTER_DATABASE", "PipelineArtifactStorage", "PipelineComputeLogManager", "PipelineInstanceStorage"]

DAGSTER_DATABASE: Final = "dagster"
STATEMENT_TIMEOUT_MILLISECONDS: Final = 60_000
POOL_RECYCLE_SECONDS: Final = 3600
MOST_EXTRA_CONNECTIONS: Final = 20


class PipelineInstanceStorage(DagsterPostgresStorage):
    """dagster-postgres' storage, with the URL from our settings."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing: the settings say it all."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Open the storage, making its database if the server lacks it.

        Raises:
            ConfigError: a setting is wrong.
            ServiceError: the server does not start or does not answer.
        """
        settings = open_services_for_process(Settings.load(), need_hub=False, need_redis=False)
        _ensure_database(settings)
        storage = cls(settings.sqlalchemy_url(DAGSTER_DATABASE), inst_data=inst_data)
        storage.keep_connections()
        return storage

    def keep_connections(self) -> None:
        """Keep a connection open in each part, as Dagster does in its webserver only.

        Elsewhere dagster-postgres connects anew for each event, which takes as long as storing it.
        """
        for part in (self.run_storage, self.event_log_storage, self.schedule_storage):
            part.optimize_for_webserver(
                statement_timeout=STATEMENT_TIMEOUT_MILLISECONDS,
                pool_recycle=POOL_RECYCLE_SECONDS,
                max_overflow=MOST_EXTRA_CONNECTIONS,
            )


def _ensure_database(settings: Settings) -> None:
    try:
        with closing(psycopg2.connect(settings.libpq_url())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DAGSTER_DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{DAGSTER_DATABASE}"')
    except psycopg2.errors.DuplicateDatabase:
        return  # another process was quicker
    except psycopg2.errors.InsufficientPrivilege as error:
        raise ServiceError(
            f"the Postgres server of FC_POSTGRES_URL has no database {DAGSTER_DATABASE!r} for Dagster's own storage",
            hint=f"as its administrator: CREATE DATABASE {DAGSTER_DATABASE} OWNER <the user of FC_POSTGRES_URL>",
        ) from error
    except psycopg2.OperationalError as error:
        raise ServiceError(
            f"Postgres does not answer: {str(error).strip()}", hint="is FC_POSTGRES_URL right and the server up?"
        ) from error


class PipelineArtifactStorage(LocalArtifactStorage):
    """Dagster's local files, in `dagster` under the data folder."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing: the settings say it all."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Raises ConfigError where a setting is wrong."""
        return cls(str(Settings.load().data_dir / "dagster"), inst_data=inst_data)


class PipelineComputeLogManager(LocalComputeLogManager):
    """What runs print, in `dagster/compute_logs` under the data folder."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Nothing: the settings say it all."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Raises ConfigError where a setting is wrong."""
        return cls(str(Settings.load().data_dir / "dagster" / "compute_logs"), inst_data=inst_data)
