"""The owner's decisions: roots, watched apps, denied users. Each change updates the set in the same commit."""

from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.errors import ConfigError
from fc_pipeline.store import coverage
from fc_pipeline.store.bookkeeping import (
    SNAPSHOTS,
    TARGET_CLIENTS,
    TARGET_DENIALS,
    TARGET_ROOTS,
    TARGET_SET,
    TARGETS,
)
from fc_pipeline.store.query import query_of
from fc_pipeline.targets import recompute
from fc_pipeline.targets.recompute import SetChange
from fc_pipeline.targets.sign_ups import metadata_prefix

__all__ = [
    "COMMAND",
    "SETTINGS",
    "OwnerSettings",
    "add_root",
    "adopt",
    "declare_mode",
    "deny",
    "is_adopted",
    "is_empty",
    "recompute_all",
    "refuse_empty_set",
    "refuse_other_mode",
    "remove",
]

SETTINGS: Final = "settings"
COMMAND: Final = "command"

_STAGE_CANDIDATES_AROUND: Final = sa.text(
    "INSERT INTO stage_target_candidates SELECT unnest(CAST(:fids AS bigint[])) UNION "
    "SELECT target_fid FROM public.links WHERE fid = ANY (CAST(:fids AS bigint[])) AND type = 'follow'"
)
"""The users who may enter or leave the set with these roots: they, and all that they follow."""


@dataclass(frozen=True, slots=True)
class OwnerSettings:
    """What the settings say of the set; `most_followed` limits the follows of every root and every client's user."""

    root_fids: tuple[int, ...] = ()
    client_fids: tuple[int, ...] = ()
    deny_fids: tuple[int, ...] = ()
    most_followed: int | None = None
    mentions: bool = True


def declare_mode(engine: sa.Engine, mode: Literal["all", "set"]) -> None:
    """Record whether this database is of all users or of the target set; fixed from the first fold on.

    Raises ConfigError where its tables were filled in the other mode: rows would be missing that the ledger has.
    """
    with engine.begin() as connection:
        found = connection.scalar(sa.select(TARGET_SET.c.mode))
        if found == mode:
            return
        begun = _is_begun(connection)
        if found is None:
            named = connection.scalar(sa.select(sa.exists(sa.select(TARGET_ROOTS.c.fid))))
            found = "set" if named else "all" if begun else mode
            line = pg.insert(TARGET_SET).values(mode=found, cache_key=uuid4().hex)
            connection.execute(line.on_conflict_do_nothing())
        elif not begun:
            connection.execute(sa.update(TARGET_SET).values(mode=mode))
            found = mode
    if found != mode:
        raise _filled_otherwise(mode, found)


def refuse_other_mode(engine: sa.Engine, mode: Literal["all", "set"]) -> None:
    """The same without recording anything."""
    with engine.connect() as connection:
        found = connection.scalar(sa.select(TARGET_SET.c.mode))
        if found not in (None, mode) and _is_begun(connection):
            raise _filled_otherwise(mode, found)


def _is_begun(connection: sa.Connection) -> bool:
    """Whether anything was folded."""
    has_snapshots = sa.select(sa.exists(sa.select(SNAPSHOTS.c.fid)))
    return coverage.is_anything_folded(query_of(connection)) or bool(connection.scalar(has_snapshots))


def _filled_otherwise(mode: str, found: str) -> ConfigError:
    return ConfigError(
        f"FC_TARGETS={mode}, but this database was filled with FC_TARGETS={found}",
        hint="set it back, or name another database (FC_POSTGRES_URL, FC_DATA_DIR); the same FC_LAKE_URI serves "
        "both: the raw log has the whole feed",
    )


def is_empty(engine: sa.Engine) -> bool:
    """Whether there is no target at all, and no app whose users could become some."""
    with engine.connect() as connection:
        somebody = sa.exists(sa.select(TARGETS.c.fid)) | sa.exists(sa.select(TARGET_CLIENTS.c.fid))
        return not connection.scalar(sa.select(somebody))


def is_adopted(engine: sa.Engine, settings: OwnerSettings) -> bool:
    """Whether the set follows these settings."""
    with engine.connect() as connection:
        limits = sa.union(
            sa.select(TARGET_CLIENTS.c.most_followed),
            sa.select(TARGET_ROOTS.c.most_followed).where(TARGET_ROOTS.c.named_by == SETTINGS),
        )
        limit_differs = any(limit != settings.most_followed for limit in connection.scalars(limits))
        clients = connection.scalars(sa.select(TARGET_CLIENTS.c.fid))
        return not limit_differs and settings == OwnerSettings(
            _fids(connection, TARGET_ROOTS, SETTINGS),
            tuple(sorted(clients)),
            _fids(connection, TARGET_DENIALS, SETTINGS),
            settings.most_followed,
            bool(connection.scalar(sa.select(TARGET_SET.c.mentions))),
        )


def _fids(connection: sa.Connection, table: sa.Table, named_by: str) -> tuple[int, ...]:
    query = sa.select(table.c.fid).where(table.c.named_by == named_by)
    return tuple(connection.scalars(query.order_by(table.c.fid)))


def adopt(engine: sa.Engine, settings: OwnerSettings) -> SetChange:
    """Update the set from the settings: add what they name, remove what they no longer name.

    What commands added stays. Raises ConfigError, and changes nothing, where no root or client would be left.
    """
    with _changing(engine) as connection:
        _replace(connection, TARGET_ROOTS, settings.root_fids, follows=True, most_followed=settings.most_followed)
        _replace(connection, TARGET_DENIALS, settings.deny_fids)
        _replace_clients(connection, settings)
        _refuse_empty_set(connection)
        counted = connection.scalar(sa.select(TARGET_SET.c.mentions))
        change = _recompute(connection, everyone=True)
        if counted != settings.mentions:
            return _switch_mentions(connection, change, on=settings.mentions)
        return change


def _replace(connection: sa.Connection, table: sa.Table, fids: Sequence[int], **values: Any) -> None:
    """Replace the lines of the settings by these; lines of commands stay."""
    is_named = table.c.fid == sa.any_(_array(fids))
    connection.execute(sa.delete(table).where(table.c.named_by == SETTINGS, sa.not_(is_named)))
    insert = _named(table, fids, named_by=SETTINGS, **values)
    if values:
        is_ours = table.c.named_by == SETTINGS
        insert = insert.on_conflict_do_update(index_elements=[table.c.fid], set_=values, where=is_ours)
    else:
        insert = insert.on_conflict_do_nothing()
    connection.execute(insert)


def _array(fids: Collection[int]) -> sa.Cast[Any]:
    return sa.cast(sorted(fids), pg.ARRAY(sa.BigInteger))


def _named(table: sa.Table, fids: Collection[int], **values: Any) -> pg.Insert:
    """A line for each of these FIDs, in a statement that is as short for many as for one."""
    same = [sa.literal(value, table.c[name].type) for name, value in values.items()]
    return pg.insert(table).from_select(["fid", *values], sa.select(sa.func.unnest(_array(fids)), *same))


def _replace_clients(connection: sa.Connection, settings: OwnerSettings) -> None:
    connection.execute(sa.delete(TARGET_CLIENTS).where(TARGET_CLIENTS.c.fid.not_in(settings.client_fids)))
    for fid in settings.client_fids:
        insert = pg.insert(TARGET_CLIENTS).values(
            fid=fid, metadata_prefix=metadata_prefix(fid), most_followed=settings.most_followed
        )
        limit = {"most_followed": settings.most_followed}
        connection.execute(insert.on_conflict_do_update(index_elements=[TARGET_CLIENTS.c.fid], set_=limit))
    connection.execute(sa.text(recompute.SIGN_UPS_KNOWN))


def _switch_mentions(connection: sa.Connection, change: SetChange, *, on: bool) -> SetChange:
    """Switch mentions on, so that past events must be read again, or off, so that rows must be deleted."""
    generation = connection.execute(
        sa.update(TARGET_SET)
        .values(mentions=on, generation=TARGET_SET.c.generation + 1, **({} if on else {"trimmed_at": None}))
        .returning(TARGET_SET.c.generation)
    ).scalar_one()
    if on:
        connection.execute(sa.update(TARGETS).values(synced_at=None))
    return SetChange(change.base, generation, change.added, change.removed)


def add_root(engine: sa.Engine, fids: Collection[int], *, follows: bool, most_followed: int | None) -> SetChange:
    """Add roots: targets from now on and, if `follows`, the users they follow, at most so many of each.

    An FID that was denied no longer is.
    """
    with _changing(engine) as connection:
        connection.execute(sa.delete(TARGET_DENIALS).where(TARGET_DENIALS.c.fid == sa.any_(_array(fids))))
        values = {"named_by": COMMAND, "follows": follows, "most_followed": most_followed}
        insert = _named(TARGET_ROOTS, fids, **values)
        connection.execute(insert.on_conflict_do_update(index_elements=[TARGET_ROOTS.c.fid], set_=values))
        return _recompute_around(connection, fids)


def remove(engine: sa.Engine, fids: Collection[int]) -> SetChange:
    """Remove users as roots, whatever named them; the follows of another root stay targets.

    Raises ConfigError, and changes nothing, where no root or client would be left.
    """
    with _changing(engine) as connection:
        connection.execute(sa.delete(TARGET_ROOTS).where(TARGET_ROOTS.c.fid.in_(fids)))
        _refuse_empty_set(connection)
        return _recompute_around(connection, fids)


def deny(engine: sa.Engine, fids: Collection[int]) -> SetChange:
    """Deny users: no targets from now on, even if followed or named. Raises ConfigError as `remove` does."""
    with _changing(engine) as connection:
        connection.execute(sa.delete(TARGET_ROOTS).where(TARGET_ROOTS.c.fid.in_(fids)))
        _refuse_empty_set(connection)
        insert = _named(TARGET_DENIALS, fids, named_by=COMMAND)
        connection.execute(insert.on_conflict_do_nothing())
        return _recompute_around(connection, fids)


def recompute_all(engine: sa.Engine) -> SetChange:
    """Recompute the whole set from the tables; idempotent."""
    with _changing(engine) as connection:
        return _recompute(connection, everyone=True)


@contextmanager
def _changing(engine: sa.Engine) -> Generator[sa.Connection]:
    with engine.begin() as connection:
        for statement in (*recompute.CREATE_STAGING, recompute.LOCK_TO_CHANGE):
            connection.execute(sa.text(statement))
        yield connection


def _recompute(connection: sa.Connection, *, everyone: bool = False) -> SetChange:
    def execute(statement: str) -> Sequence[tuple[Any, ...]]:
        result = connection.execute(sa.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []

    return recompute.recompute(execute, everyone=everyone)


def _recompute_around(connection: sa.Connection, fids: Collection[int]) -> SetChange:
    """After roots changed: they and all users they follow."""
    connection.execute(_STAGE_CANDIDATES_AROUND, {"fids": list(fids)})
    return _recompute(connection)


def _refuse_empty_set(connection: sa.Connection) -> None:
    """A filter that keeps nothing is a mistake. Raises ConfigError."""
    denied = sa.select(TARGET_DENIALS.c.fid)
    somebody = sa.exists(sa.select(TARGET_ROOTS.c.fid).where(TARGET_ROOTS.c.fid.not_in(denied))) | sa.exists(
        sa.select(TARGET_CLIENTS.c.fid)
    )
    if not connection.scalar(sa.select(somebody)):
        raise _empty_set_error()


def refuse_empty_set(engine: sa.Engine, settings: OwnerSettings) -> None:
    """Raise ConfigError if there is no target and the settings name none."""
    named = set(settings.root_fids).difference(settings.deny_fids) or settings.client_fids
    if not named and is_empty(engine):
        raise _empty_set_error()


def _empty_set_error() -> ConfigError:
    return ConfigError(
        "FC_TARGETS=set, but there is no root: nothing at all would be kept",
        hint="name users in FC_ROOT_FIDS or by `fc-pipeline targets add FID --root`, or apps in FC_CLIENT_FIDS",
    )
