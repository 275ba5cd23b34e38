"""The schemas of readers: made at the start, made again where something is missing, and in place of another shape."""

import pytest
import sqlalchemy as sa

from fc_pipeline.errors import ConfigError
from fc_pipeline.serving.objects import SCHEMAS, served_objects
from fc_pipeline.store import serving
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.postgres import Database

OLDER_SHAPE = (
    "DROP VIEW neynar.profiles_with_verifications",
    "DROP VIEW neynar.profiles",
    "CREATE VIEW neynar.profiles AS SELECT 1 AS other",
    "CREATE VIEW neynar.profiles_with_verifications AS SELECT other FROM neynar.profiles",
    "COMMENT ON SCHEMA neynar IS 'of another release'",
)


OWN = "CREATE VIEW mine.own AS SELECT other FROM neynar.profiles"


def execute(database: Database, *statements: str) -> None:
    with database.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def is_current(database: Database) -> bool:
    with database.engine.connect() as connection:
        return serving.is_current(connection)


@pytest.mark.parametrize(
    "damage",
    [
        ("DROP VIEW neynar.casts",),
        ("DROP FUNCTION api.change_horizon",),
        ("DROP SCHEMA api CASCADE", "DROP SCHEMA dune CASCADE"),
        ("DROP TABLE reactions CASCADE",),
        OLDER_SHAPE,
    ],
)
def test_what_is_missing_or_of_another_shape_is_made_again(database: Database, damage: tuple[str, ...]) -> None:
    assert is_current(database)
    execute(database, *damage)
    assert not is_current(database)
    ensure_schema(database.engine)
    assert is_current(database)
    with database.engine.connect() as connection:
        for one in served_objects():
            if one.kind == "view":
                connection.execute(sa.text(f"SELECT * FROM {one.name} LIMIT 0"))


def test_what_a_user_has_made_of_a_view_is_named_and_stays(database: Database) -> None:
    execute(database, *OLDER_SHAPE, "CREATE SCHEMA mine", OWN)
    with pytest.raises(ConfigError, match=r"neynar\.profiles.*mine\.own") as caught:
        ensure_schema(database.engine)
    assert "drop what depends on it" in (caught.value.hint or "")
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM mine.own")).scalar_one() == 1
    execute(database, "DROP VIEW mine.own", "CREATE VIEW mine.unconcerned AS SELECT fid FROM neynar.casts")
    ensure_schema(database.engine)
    assert is_current(database)


def test_every_object_is_of_a_known_schema_and_runs_with_the_callers_rights(database: Database) -> None:
    assert {one.schema for one in served_objects()} == set(SCHEMAS)
    with database.engine.connect() as connection:
        definer = "SELECT count(*) FROM pg_proc WHERE prosecdef AND pronamespace::regnamespace::text = ANY (:schemas)"
        assert connection.execute(sa.text(definer), {"schemas": [*SCHEMAS, "pipeline"]}).scalar_one() == 0
