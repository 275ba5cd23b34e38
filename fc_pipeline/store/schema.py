"""Brings a database to the schema that this release writes: Alembic migrations, and tables that were dropped.

And keeps those away who would write another one: a process that was running when a newer release migrated.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import fc_pipeline.store.migrations
from fc_pipeline.errors import ConfigError, NothingYet, SchemaMissing
from fc_pipeline.store import (
    attribution,
    bulk_load,
    change_stamps,
    counts,
    covered_heights,
    derived,
    gaps,
    later_indexes,
    ledger,
    serving,
    snapshot_ledger,
    views,
)
from fc_pipeline.store.advisory_locks import MIGRATION
from fc_pipeline.store.bookkeeping import SCHEMA, TARGETS
from fc_pipeline.store.digest_tables import DIGESTED_SHARDS, FID_DIGESTS, STALE_FIDS, TOUCHED_FIDS
from fc_pipeline.store.named_fids import NAMED_FIDS, NAMED_HOURS
from fc_pipeline.store.partitions import PARTITIONABLE, create
from fc_pipeline.store.query import absent
from fc_pipeline.tables import link_compactions, links, other_leaves, registry
from fc_pipeline.tables.columns import METADATA
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY

__all__ = [
    "NEWEST_REVISION",
    "alembic_config",
    "ensure_schema",
    "hold_schema",
    "owned_by_us",
    "require_schema",
]

_REBUILT_WITH = {
    **{table.qualified: name for name, table in registry.MESSAGE_TABLES.items()},
    FID_ACTIVITY.qualified: FID_ACTIVITY.name,
    # Compact states mask links, so links are folded again with them.
    link_compactions.LINK_COMPACTIONS.qualified: links.LINKS.name,
    other_leaves.OTHER_LEAVES.qualified: other_leaves.OTHER_LEAVES.name,
}
_COUNTED: Final = {one.qualified for one in COUNT_TABLES} | {
    count.source.qualified for one in COUNT_TABLES for count in one.counts
}
"""The tables of counts, and those whose rows they count."""
_DIGESTS: Final = {f"{table.schema}.{table.name}" for table in (FID_DIGESTS, STALE_FIDS, TOUCHED_FIDS)}
"""Where one of them is lost, the FIDs of all shards are listed anew."""
_NAMED: Final = f"{SCHEMA}.{NAMED_FIDS.name}"
_COVERED: Final = f"{SCHEMA}.{covered_heights.COVERED_HEIGHTS.name}"
_REVISION: Final = f"SELECT version_num FROM {SCHEMA}.alembic_version"
_CREATE_SCHEMA: Final = sa.text(f"CREATE SCHEMA {SCHEMA}")


def _known_revisions() -> tuple[str, ...]:
    """The revisions of this release, newest first."""
    script = ScriptDirectory(fc_pipeline.store.migrations.__path__[0])
    return tuple(revision.revision for revision in script.walk_revisions())


# Looked up once, at the start of the process: later the files on disk may be those of a newer release.
_KNOWN_REVISIONS: Final = _known_revisions()
NEWEST_REVISION: Final = _KNOWN_REVISIONS[0]
"""The schema that this process writes."""


def ensure_schema(engine: sa.Engine, partitions: int | None = None) -> None:
    """Create or migrate the database; afterwards every table exists.

    A table that a user dropped is rebuilt, empty, and the ledger forgets that anything was written to it: so it is work
    to do, from the raw log. A derived one, dropped or new, is filled from its sources at once. Large tables that are
    made here are made in so many `partitions`; those that are there stay as they are. Several processes may call this
    at once. Raises ConfigError if the database was migrated by a newer release: nothing is written then.
    """
    with engine.begin() as connection:
        if _is_current(connection):
            return
        connection.execute(sa.text(MIGRATION.until_commit()))
        found = _revision_of(connection)
        if found is not None and found not in _KNOWN_REVISIONS:
            raise _unknown(found)
        if not sa.inspect(connection).has_schema(SCHEMA):  # IF NOT EXISTS wants rights on the database all the same
            connection.execute(_CREATE_SCHEMA)
        missing = _missing_tables(connection)
        command.upgrade(alembic_config(connection), NEWEST_REVISION)
        lost = _missing_tables(connection)
        _create_tables(connection, lost, partitions, is_new=found is None)
        if found is None:
            later_indexes.drop(connection)
        change_stamps.install(connection)
        counts.install(connection)
        covered_heights.install(connection)
        if found != NEWEST_REVISION or _COVERED in lost:
            covered_heights.recount(connection)
        forgotten = _forget(connection, lost)
        for one in registry.DERIVED_TABLES:
            is_missing = one.table.qualified in missing
            if is_missing or found != NEWEST_REVISION:  # a release may derive otherwise than the one before
                _derive_all(connection, one)
            if is_missing:
                _note_derived(connection, one, forgotten)
        if found != NEWEST_REVISION or not lost.isdisjoint(_COUNTED):
            counts.recount(connection)
        views.create_missing(connection)
        serving.install(connection)


def _create_tables(connection: sa.Connection, lost: Collection[str], partitions: int | None, *, is_new: bool) -> None:
    """Create what there is not, large tables in so many partitions.

    In a new database the migrations have just made these without, empty, as in those of older releases.
    """
    if partitions is not None:
        for table in PARTITIONABLE:
            if is_new:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table.qualified}")
            if is_new or table.qualified in lost:
                create(connection, table, partitions)
    METADATA.create_all(connection, checkfirst=True)


def _forget(connection: sa.Connection, lost: Collection[str]) -> set[str]:
    """Make work of what tables that were lost had; returns the names under which the ledger forgets them."""
    if _NAMED in lost:  # whom an hour names is in the lost one
        connection.execute(sa.delete(NAMED_HOURS))
    if not _DIGESTS.isdisjoint(lost):
        connection.execute(sa.delete(DIGESTED_SHARDS))
    forgotten = {_REBUILT_WITH[table] for table in _REBUILT_WITH.keys() & lost}
    for name in forgotten:
        ledger.forget_table(connection, name)
    if forgotten:
        snapshot_ledger.forget_folds(connection)
        connection.execute(sa.update(TARGETS).values(synced_at=None))
        gaps.reopen(connection)
    return forgotten


def _derive_all(connection: sa.Connection, one: DerivedTable) -> None:
    connection.exec_driver_sql(derived.create_scope(one))
    relations = [(name, registry.LISTED_TABLES[name].qualified) for name in one.sources]
    connection.exec_driver_sql(derived.stage_touched(one, relations))
    connection.exec_driver_sql(f"ANALYZE {derived.scope_name(one)}")
    connection.exec_driver_sql(derived.derive(one))
    for statement in attribution.after(one):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(derived.empty_scope(one))


def _note_derived(connection: sa.Connection, one: DerivedTable, forgotten: Collection[str]) -> None:
    """Note that the hours which its sources have are written to it, too, unless a source is rebuilt from the log."""
    ledger.forget_table(connection, one.name)
    if set(one.sources).isdisjoint(forgotten):
        ledger.note_derived(connection, one.name, registry.DATA_TABLES.keys() & set(one.sources))


def require_schema(engine: sa.Engine) -> None:
    """Make sure, without writing, that the database is as this release writes it.

    Raises SchemaMissing if something that writes has to come first (NothingYet: the first start), ConfigError if a
    newer release migrated it.
    """
    with engine.connect() as connection:
        found = _revision_of(connection)
        if found is not None and found not in _KNOWN_REVISIONS:
            raise _unknown(found)
        lost = sorted(_missing_tables(connection))
    if found is None:
        raise NothingYet(
            "the database has no tables of fc_pipeline yet",
            hint="`fc-pipeline up` or `fc-pipeline sync` makes and fills them; is FC_POSTGRES_URL the right database?",
        )
    if found != NEWEST_REVISION:
        raise SchemaMissing(
            f"the database's tables are those of an older release ({found}; this one knows {NEWEST_REVISION})",
            hint="`fc-pipeline up` or `fc-pipeline sync` of this release migrates them, and keeps every row",
        )
    if lost:
        raise SchemaMissing(
            f"the database has lost {', '.join(lost)}",
            hint="`fc-pipeline up` or `fc-pipeline sync` creates lost tables again, and fills them from the raw log",
        )


def hold_schema(execute: Callable[[str], Any], *, while_loading: bool = False) -> None:
    """Keep the schema as this process knows it until the end of the transaction; each that writes begins with this.

    `execute` executes a statement of that transaction and gives its rows. Waits during a migration. Raises ConfigError
    if a newer release has migrated the database meanwhile: nothing is to be written then. Raises LoadUnderWay while
    tables are loaded in bulk, but for what may write `while_loading`.
    """
    execute(MIGRATION.until_commit(shared=True))
    found = [row[0] for row in execute(_REVISION)]
    if found != [NEWEST_REVISION]:
        raise _unknown(*found)
    if not while_loading:
        bulk_load.refuse_under_way(execute)


def _unknown(*revisions: str) -> ConfigError:
    return ConfigError(
        f"the database has a schema that this process does not know: {', '.join(revisions) or 'none'}; "
        f"it knows {NEWEST_REVISION}",
        hint="a newer fc_pipeline has migrated it; install that release, or start again where it is installed already, "
        "or point FC_POSTGRES_URL elsewhere",
    )


def _is_current(connection: sa.Connection) -> bool:
    """Whether the newest migration is applied and no table is missing; cheap, for every run and tick begins with it."""
    return (
        _revision_of(connection) == NEWEST_REVISION
        and not _missing_tables(connection)
        and not views.missing(connection)
        and serving.is_current(connection)
    )


def _revision_of(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()


def _missing_tables(connection: sa.Connection) -> set[str]:
    """The names, with their schema, of declared tables that the database lacks."""
    names = [f"{table.schema or 'public'}.{table.name}" for table in METADATA.tables.values()]
    return absent(connection, names)


def alembic_config(connection: sa.Connection) -> Config:
    """Alembic's configuration for this connection, without a file."""
    config = Config()
    location = fc_pipeline.store.migrations.__path__[0].replace("%", "%%")  # else the beginning of a variable
    config.set_main_option("script_location", location)
    config.attributes["connection"] = connection
    config.attributes["include_name"] = owned_by_us
    return config


def owned_by_us(name: str | None, kind: str, parents: Any) -> bool:
    """Whether Alembic may look at a schema or table: only ours, so that users' own tables are left alone."""
    if kind == "schema":
        return name in (None, SCHEMA)
    if kind == "table":
        schema = parents["schema_name"]
        return (f"{schema}.{name}" if schema else name) in METADATA.tables
    return True
