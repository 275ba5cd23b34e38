"""Brings a database to the schema that this release writes: Alembic migrations, and tables that were dropped."""

from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

import fc_pipeline.migrations
from fc_pipeline.errors import ConfigError
from fc_pipeline.fold import gaps, ledger, snapshot_ledger
from fc_pipeline.tables import link_compactions, links, registry
from fc_pipeline.tables.bookkeeping import SCHEMA, TARGETS
from fc_pipeline.tables.columns import METADATA

__all__ = ["alembic_config", "ensure_schema", "owned_by_us"]

_REBUILT_WITH = {
    **{table.qualified: name for name, table in registry.DATA_TABLES.items()},
    # Compact states mask links, so links are folded again with them.
    link_compactions.LINK_COMPACTIONS.qualified: links.LINKS.name,
}
_MIGRATION_LOCK = "SELECT pg_advisory_xact_lock(7234163)"


def ensure_schema(engine: sa.Engine) -> None:
    """Create or migrate the database; afterwards every table exists.

    A table that a user dropped is made anew, empty, and the ledger forgets that anything was written to it: so it is
    work to do, from the raw log. Several processes may call this at
    once. Raises ConfigError if the database was migrated by a newer release: nothing is written then.
    """
    with engine.begin() as connection:
        if _is_current(connection):
            return
        connection.execute(sa.text(_MIGRATION_LOCK))
        if not sa.inspect(connection).has_schema(SCHEMA):  # IF NOT EXISTS wants rights on the database all the same
            connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
        try:
            command.upgrade(alembic_config(connection), "head")
        except CommandError as error:
            raise ConfigError(
                f"the database has a schema that this release does not know: {error}",
                hint="a newer fc_pipeline has migrated it; install that release or point FC_POSTGRES_URL elsewhere",
            ) from error
        lost = _missing_tables(connection)
        METADATA.create_all(connection, checkfirst=True)
        for table in lost & _REBUILT_WITH.keys():
            ledger.forget_table(connection, _REBUILT_WITH[table])
        if lost & _REBUILT_WITH.keys():
            snapshot_ledger.forget_folds(connection)
            connection.execute(sa.update(TARGETS).values(synced_at=None))
            gaps.reopen(connection)


def _is_current(connection: sa.Connection) -> bool:
    """Whether the newest migration is applied and no table is missing; cheap, for every run and tick begins with it."""
    newest = ScriptDirectory.from_config(alembic_config(connection)).get_current_head()
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    if context.get_current_revision() != newest:
        return False
    return not _missing_tables(connection)


def _missing_tables(connection: sa.Connection) -> set[str]:
    """The names, with their schema, of declared tables that the database lacks."""
    names = [f"{table.schema or 'public'}.{table.name}" for table in METADATA.tables.values()]
    absent = sa.text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NULL")
    return set(connection.execute(absent, {"names": names}).scalars())


def alembic_config(connection: sa.Connection) -> Config:
    """Alembic's configuration for this connection, without a file."""
    config = Config()
    config.set_main_option("script_location", fc_pipeline.migrations.__path__[0])
    config.attributes["connection"] = connection
    return config


def owned_by_us(name: str | None, kind: str, parents: Any) -> bool:
    """Whether Alembic may look at a schema or table: only ours, so that users' own tables are left alone."""
    if kind == "schema":
        return name in (None, SCHEMA)
    if kind == "table":
        schema = parents["schema_name"]
        return (f"{schema}.{name}" if schema else name) in METADATA.tables
    return True
