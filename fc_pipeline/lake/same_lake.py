"""Database and lake belong together: each says the same lake id, and another lake, or none, is refused."""

import time
import uuid
from typing import Final

import sqlalchemy as sa

from fc_pipeline.errors import ConfigError
from fc_pipeline.lake import identity
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.plain_text import shown_url
from fc_pipeline.store import lake_id as line
from fc_pipeline.store.lake_id import DatabaseLake

__all__ = ["RECHECK_SECONDS", "adopt_lake", "agree_on_lake", "refuse_another_lake"]

RECHECK_SECONDS: Final = 300.0
"""How long a process caches the check: sensors open the replica every few seconds, and each check is a request."""

_agreed_at: dict[tuple[str, str], float] = {}


def agree_on_lake(engine: sa.Engine, storage: LakeStorage, lake_uri: str) -> None:
    """Make sure that the lake is the database's, which one of two that have none becomes at the first start.

    Several processes may start at once: all agree on one id. Raises ConfigError if the lake is another one than the
    database's, or there is none where it should be; LakeError if the store cannot be asked.
    """
    asked = (str(engine.url), lake_uri)
    if not storage.is_local and time.monotonic() - _agreed_at.get(asked, float("-inf")) < RECHECK_SECONDS:
        return
    with engine.connect() as connection:
        expected = line.known(connection)
    _refuse_another(expected or _first_start(engine, storage, lake_uri), storage, lake_uri)
    _agreed_at[asked] = time.monotonic()


def refuse_another_lake(engine: sa.Engine, storage: LakeStorage, lake_uri: str) -> None:
    """The same for who only reads: where there was no first start yet, nothing is agreed upon."""
    with engine.connect() as connection:
        expected = line.known(connection)
    if expected is not None:
        _refuse_another(expected, storage, lake_uri)


def _refuse_another(expected: DatabaseLake, storage: LakeStorage, lake_uri: str) -> None:
    found = identity.read_id(storage)
    if found != expected.lake_id:
        raise _not_the_lake(expected, found, lake_uri)


def adopt_lake(engine: sa.Engine, storage: LakeStorage, lake_uri: str) -> str:
    """Make the lake the database's from now on, whatever is in it; gives its id. Raises LakeError."""
    with engine.begin() as connection:
        line.hold(connection)
        lake_id = identity.read_id(storage) or identity.make_id(storage, uuid.uuid4().hex)
        line.record(connection, DatabaseLake(lake_id, shown_url(lake_uri)))
    return lake_id


def _first_start(engine: sa.Engine, storage: LakeStorage, lake_uri: str) -> DatabaseLake:
    with engine.begin() as connection:
        line.hold(connection)
        expected = line.known(connection)  # another process may have been first
        if expected is not None:
            return expected
        lake_id = identity.read_id(storage)
        if lake_id is None and line.has_folded_from_log(connection) and not identity.has_data(storage):
            raise ConfigError(
                f"FC_LAKE_URI names {shown_url(lake_uri)}, where there is nothing, but the database was filled from a "
                "lake",
                hint=_REMEDY,
            )
        # Should this process die before the commit, the next one finds the id in the lake.
        made = DatabaseLake(lake_id or identity.make_id(storage, uuid.uuid4().hex), shown_url(lake_uri))
        line.record(connection, made)
        return made


_REMEDY: Final = (
    "set FC_LAKE_URI to the database's lake, or mount or restore it there; if this place is to be its lake from now "
    "on, empty or not: `fc-pipeline lake adopt`"
)


def _not_the_lake(expected: DatabaseLake, found: str | None, lake_uri: str) -> ConfigError:
    own = f"the database's lake {expected.lake_id} (last adopted at {expected.place})"
    problem = f"there is lake {found}, which is not {own}" if found else f"there is no lake, but {own} should be"
    return ConfigError(f"FC_LAKE_URI names {shown_url(lake_uri)}: {problem}", hint=_REMEDY)
