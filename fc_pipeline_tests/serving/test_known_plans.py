"""Conditions on the views of schemas `neynar` and `dune` reach the tables' indexes, and unused joins are left out."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import later_indexes
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.postgres import INDEXES_IF_ANY, PARTITIONS, fresh_database, table_of

ROWS = 20_000
FEWER = 5_000
"""Of tables that say something of users."""
_AT = "timestamptz '2026-01-01' + i * interval '1 minute'"
_HASH = "decode(md5({}::text) || '00000000', 'hex')"
_GONE = "CASE WHEN i % 10 = 3 THEN now() END"
# updated_at is set by hand: as if each row had been written by a transaction of its own.
FILL = (
    "ALTER TABLE {table} DISABLE TRIGGER USER",
    f"""INSERT INTO casts (hash, fid, version, "timestamp", block_time, updated_at, deleted_at, text, embeds, mentions,
      mentions_positions, parent_fid, parent_hash, parent_url)
    SELECT {_HASH.format("i")}, i % 500, i, {_AT}, {_AT}, {_AT}, {_GONE}, repeat('text ', 20), '[]', '{{}}', '{{}}',
      CASE WHEN i % 2 = 0 THEN 5 END, CASE WHEN i % 2 = 0 THEN {_HASH.format("(i / 2)")} END,
      CASE WHEN i % 7 = 1 THEN 'https://channel/' || i % 50 END FROM generate_series(1, {ROWS}) AS i""",
    """INSERT INTO cast_threads (hash, fid, root_hash, root_url, depth, version)
    SELECT hash, fid, coalesce(parent_hash, hash), parent_url, (parent_hash IS NOT NULL)::integer, version
    FROM casts WHERE deleted_at IS NULL""",
    f"""INSERT INTO reactions (fid, type, target, target_fid, target_hash, "timestamp", block_time, updated_at, version,
      deleted_at)
    SELECT i % 500, CASE WHEN i % 3 = 0 THEN 'recast' ELSE 'like' END, decode(md5(i::text), 'hex'), i % 300,
      {_HASH.format("(i % 9000)")}, {_AT}, {_AT}, {_AT}, i, {_GONE} FROM generate_series(1, {ROWS}) AS i""",
    f"""INSERT INTO links (fid, type, target_fid, "timestamp", block_time, updated_at, version, deleted_at)
    SELECT i % 500, 'follow', i / 10, {_AT}, {_AT}, {_AT}, i, {_GONE} FROM generate_series(1, {ROWS}) AS i""",
    f"""INSERT INTO verifications (fid, address, protocol, "timestamp", version)
    SELECT i % 4000, '0x' || substr(md5(i::text) || md5(i::text), 1, 40), 'ethereum', {_AT}, i
    FROM generate_series(1, {FEWER}) AS i""",
    f"""INSERT INTO user_data (fid, type, value, "timestamp", version)
    SELECT i, 'bio', 'about', {_AT}, i FROM generate_series(1, {FEWER}) AS i""",
    f"""INSERT INTO user_profiles (fid, username, custody_address, registered_at, version)
    SELECT i, 'user' || i, '0x' || substr(md5(i::text) || md5(i::text), 1, 40), {_AT}, i
    FROM generate_series(1, {FEWER}) AS i""",
    f"""INSERT INTO username_proofs (name, type, fid, owner, "timestamp", precedence, version)
    SELECT 'user' || i, 'fname', i, '0x00', {_AT}, '', i FROM generate_series(1, {FEWER}) AS i""",
    f"""INSERT INTO signers (fid, key, kind, key_type, app_fid, added_at, version)
    SELECT i % 4000, decode(md5(i::text), 'hex'), 'onchain', 1, i % 20, {_AT}, i
    FROM generate_series(1, {FEWER}) AS i""",
    f"""INSERT INTO storage_rents (chain_id, transaction_hash, log_index, fid, units, unit_type, rented_at, expires_at,
      version) SELECT 10, decode(md5(i::text), 'hex'), 0, i % 4000, 1, '2025', {_AT}, {_AT}, i
    FROM generate_series(1, {FEWER}) AS i""",
    f"""INSERT INTO on_chain_events (chain_id, transaction_hash, log_index, type, fid, block_number, block_timestamp,
      body, version) SELECT 10, decode(md5(i::text), 'hex'), 0, 'id_register', i, i, {_AT}, '{{}}', i
    FROM generate_series(1, {FEWER}) AS i""",
    f"INSERT INTO user_counts (fid, followers) SELECT i, i FROM generate_series(1, {FEWER}) AS i",
)
TRIGGERED = ("casts", "reactions", "links", "cast_threads")

LATE = "'2026-01-14 20:00'"
SINCE = f"timestamptz {LATE} - interval '1 hour'"  # another type than the column's, as with now()
REACHED = (
    *(
        f"neynar.{view} WHERE {column} > {time} AND deleted_at IS NULL"
        for view in ("casts", "reactions", "follows")
        for column in ("timestamp", "created_at", "updated_at")
        for time in (LATE, SINCE)
    ),
    *(
        f"dune.dataset_farcaster_{view} WHERE {column} > {SINCE} AND deleted_at IS NULL"
        for view in ("casts", "reactions", "links")
        for column in ("timestamp", "created_at", "updated_at")
    ),
    "neynar.casts WHERE fid = 3",
    "neynar.casts WHERE fid IN (3, 4, 5) AND deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20",
    r"neynar.casts WHERE hash = '\x0102'",
    r"neynar.casts WHERE parent_hash = '\x0102' AND deleted_at IS NULL",
    "neynar.casts WHERE parent_url = 'https://channel/3' AND deleted_at IS NULL",
    r"neynar.casts WHERE root_parent_hash = '\x0102' AND deleted_at IS NULL ORDER BY timestamp",
    "neynar.casts WHERE root_parent_url = 'https://channel/3' AND deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20",
    r"neynar.reactions WHERE target_hash = '\x0102' AND reaction_type = 1 AND deleted_at IS NULL",
    "neynar.reactions WHERE target_fid = 3 AND deleted_at IS NULL",
    "neynar.reactions WHERE fid = 3 AND deleted_at IS NULL",
    "neynar.follows WHERE fid = 3 AND deleted_at IS NULL",
    "neynar.follows WHERE target_fid = 3 AND deleted_at IS NULL",
    r"neynar.verifications WHERE address = '\x0102'",
    "neynar.verifications WHERE fid = 3",
    "neynar.profiles WHERE fid = 3",
    "neynar.profiles WHERE username = 'user3'",
    "neynar.profiles_with_verifications WHERE profile_fid = 3",
    "neynar.usernames WHERE username = 'user3'",
    "neynar.usernames WHERE fid = 3",
    "neynar.fids WHERE fid = 3",
    r"neynar.fids WHERE custody_address = '\x0102'",
    "neynar.signers WHERE fid = 3",
    r"neynar.signers WHERE signer = '\x0102'",
    "neynar.storage_rentals WHERE fid = 3",
    "neynar.follow_counts WHERE fid = 3",
    r"dune.dataset_farcaster_casts WHERE root_parent_hash = '\x0102'",
    "dune.dataset_farcaster_casts WHERE root_parent_url = 'https://channel/3'",
    r"dune.dataset_farcaster_reactions WHERE target_hash = '\x0102'",
    "dune.dataset_farcaster_links WHERE target_fid = 3 AND deleted_at IS NULL",
    "dune.dataset_farcaster_user_data WHERE fid = 3",
    "dune.dataset_farcaster_profile_with_addresses WHERE fname = 'user3'",
    "dune.dataset_farcaster_fnames WHERE fname = 'user3'",
    r"neynar.casts AS c JOIN neynar.casts AS r ON r.parent_hash = c.hash WHERE c.hash = '\x0102'",
    "neynar.casts AS c CROSS JOIN LATERAL unnest(c.embedded_casts) AS e (hash) JOIN neynar.casts AS q "
    "ON q.hash = e.hash WHERE c.fid = 3",
    r"neynar.verifications AS v JOIN neynar.profiles AS p ON p.fid = v.fid WHERE v.address = '\x0102'",
    "neynar.fids AS f JOIN neynar.casts AS c ON c.fid = f.fid WHERE f.fid = 3",
)


@pytest.fixture(scope="module")
def tables(postgres: EmbeddedPostgres) -> Iterator[sa.Engine]:
    with fresh_database(postgres) as database:
        with database.engine.begin() as connection:
            for table in TRIGGERED:
                connection.exec_driver_sql(FILL[0].format(table=table))
            for statement in FILL[1:]:
                connection.exec_driver_sql(statement.replace("%", "%%"))  # to the driver, % begins a parameter
            for table in TRIGGERED:
                connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        later_indexes.make(database.engine)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
        yield database.engine


def plan(engine: sa.Engine, query: str) -> dict[str, Any]:
    with engine.connect() as connection:
        # As on the embedded server: by default, rows out of order are taken for far away, as on a spinning disk.
        connection.exec_driver_sql(f"SET timezone = 'UTC'; SET random_page_cost = 1.1; {INDEXES_IF_ANY}")
        (found,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT json) {query}").one()
        return found[0]["Plan"]


def nodes(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield top
    for below in top.get("Plans", ()):
        yield from nodes(below)


def read_whole(engine: sa.Engine, query: str) -> list[str]:
    return [one.get("Relation Name", one.get("Index Name")) for one in nodes(plan(engine, query)) if is_whole(one)]


def is_whole(node: dict[str, Any]) -> bool:
    """Whether it reads a table through, or an index in place of one."""
    kind = node["Node Type"]
    return kind.endswith("Seq Scan") or (re.search(r"\bIndex\b", kind) is not None and "Index Cond" not in node)


@pytest.mark.parametrize("what", REACHED)
def test_a_condition_reaches_an_index(what: str, tables: sa.Engine) -> None:
    assert read_whole(tables, f"SELECT * FROM {what}") == []


def test_a_table_is_read_whole_where_nothing_else_helps(tables: sa.Engine) -> None:
    """Else the plans above would say nothing."""
    assert read_whole(tables, "SELECT * FROM neynar.casts WHERE text LIKE 'x%%'") != []


def test_threads_are_not_looked_up_for_who_does_not_ask_for_them(tables: sa.Engine) -> None:
    for view in ("neynar.casts", "dune.dataset_farcaster_casts"):
        query = f"SELECT fid, count(*) FROM {view} WHERE deleted_at IS NULL GROUP BY 1"
        assert {table_of(one.get("Relation Name", "")) for one in nodes(plan(tables, query))} == {"", "casts"}


@pytest.mark.parametrize(
    ("what", "share"),
    [
        ("neynar.casts WHERE deleted_at IS NULL", 0.9),
        ("neynar.reactions WHERE deleted_at IS NULL AND reaction_type = 1", 0.6),
        ("neynar.reactions WHERE reaction_type = 2", 1 / 3),
        ("dune.dataset_farcaster_casts WHERE deleted_at IS NOT NULL", 0.1),
    ],
)
def test_the_planner_knows_how_many_rows_are_live(what: str, share: float, tables: sa.Engine) -> None:
    """Where it has to guess, it takes one in two hundred, and plans for few rows."""
    assert plan(tables, f"SELECT fid FROM {what}")["Plan Rows"] == pytest.approx(share * ROWS, rel=0.25)


def test_a_table_that_was_lost_comes_back_with_what_is_known_of_its_values(tables: sa.Engine) -> None:
    known = sa.text("SELECT stxname FROM pg_statistic_ext ORDER BY 1")
    with tables.connect() as connection:
        before = connection.execute(known).scalars().all()
    with tables.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reactions CASCADE")
    ensure_schema(tables, PARTITIONS)
    with tables.connect() as connection:
        assert connection.execute(known).scalars().all() == before
        assert connection.exec_driver_sql("SELECT count(*) FROM neynar.reactions").scalar_one() == 0
