"""A network of any size straight into the tables, by SQL: what is popular is so by a power law, all in order of time.

Users, casts and channels with low numbers are the popular ones. A thread in the middle is one long chain of replies.
What follows from other tables is filled as a release does that finds its tables missing.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from fc_pipeline.config.settings import Settings
from fc_pipeline.store import later_indexes
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.registry import DERIVED_TABLES
from fc_pipeline_tests.benchmarks.large_tables import drop_indexes
from fc_pipeline_tests.support.postgres import PARTITIONS

__all__ = ["NetworkSize", "fill_network"]

DAYS = 90
ACTIVITY_DAYS = 8
"""Of so many days, the last ones, `fid_activity` is filled."""
CHANNELS = 3_000
CHAIN_DEPTH = 10_000
_PHRASES = 5_000


@dataclass(frozen=True)
class NetworkSize:
    users: int = 100_000
    casts: int = 2_000_000
    reactions: int = 5_000_000
    follows: int = 2_000_000

    @property
    def chain(self) -> int:
        """The length of the long chain of replies."""
        return min(CHAIN_DEPTH, self.casts // 10)

    @property
    def hot_casts(self) -> int:
        """Casts that everybody replies to, likes and quotes: one in a thousand, spread over time."""
        return max(1, self.casts // 1_000)


# share(i, salt) is a number from 0 to 1 that looks random; its powers are the power laws.
_FUNCTIONS = """
CREATE SCHEMA bench;
CREATE FUNCTION bench.share(i bigint, salt bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (hashint8extended(i, salt) & 4503599627370495)::float8 / 4503599627370496;
CREATE FUNCTION bench.hash(i bigint) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN substr(sha256(int8send(i)), 1, 20);
CREATE FUNCTION bench.busy(i bigint, salt bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 + floor({users} * bench.share(i, salt) ^ 2)::bigint;
CREATE FUNCTION bench.popular(i bigint, salt bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 + floor({users} * bench.share(i, salt) ^ 3)::bigint;
CREATE FUNCTION bench.author(cast_number bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN bench.busy(cast_number, 1);
CREATE FUNCTION bench.hot_cast(i bigint, salt bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 1 + 1000 * (floor({hot_casts} * bench.share(i, salt) ^ 3)::bigint * 7919 % {hot_casts});
CREATE FUNCTION bench.recent_cast(before bigint, i bigint, salt bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(1, before - 1 - floor(before * bench.share(i, salt) ^ 6)::bigint);
CREATE FUNCTION bench.at(place bigint, places bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_timestamp({end_unix} - {seconds} * (1 - place::float8 / places));
CREATE TABLE bench.words AS
  SELECT k, initcap(substr('bcdfghklmnprst', 1 + k % 14, 1) || substr('aeiou', 1 + k / 14 % 5, 1)
    || substr('bcdfghklmnprst', 1 + k / 70 % 14, 1) || substr('aeiou', 1 + k / 980 % 5, 1)
    || CASE WHEN k >= 4900 THEN (k / 4900)::text ELSE '' END) AS word
  FROM generate_series(0, 19999) AS k;
CREATE TABLE bench.phrases AS
  SELECT p.k, lower(string_agg(w.word, ' ' ORDER BY p.n)) AS phrase
  FROM (SELECT k, n, floor(20000 * bench.share(k * 10 + n, 20) ^ 3)::integer AS word
    FROM generate_series(0, {phrases} - 1) AS k, generate_series(0, 3) AS n) AS p
  JOIN bench.words AS w ON w.k = p.word GROUP BY p.k;
ANALYZE bench.words; ANALYZE bench.phrases
"""

_SIGNED = "sha256(int8send({i})), sha512(int8send({i})), 1"
_PHRASE = "floor({phrases} * bench.share(c.i, {salt}))::integer"

# Table → its columns and the query that fills them.
_FILL = {
    "user_data": (
        "fid, type, value, timestamp, block_time, hash, signer, signature, version",
        "SELECT u.i, d.type, d.value, bench.at(u.i, {users}), bench.at(u.i, {users}), "
        "substr(sha256(convert_to(d.type || u.i, 'UTF8')), 1, 20), " + _SIGNED.format(i="u.i") + " "
        "FROM generate_series(1, {users}::bigint) AS u (i) "
        "JOIN bench.words AS w ON w.k = floor(20000 * bench.share(u.i, 21) ^ 2)::integer "
        "JOIN bench.words AS v ON v.k = floor(20000 * bench.share(u.i, 22) ^ 2)::integer CROSS JOIN LATERAL (VALUES "
        "('username', lower(w.word) || u.i), ('display', w.word || ' ' || v.word), "
        "('bio', 'I am ' || w.word || ', a user'), ('pfp', 'https://pictures.example/' || u.i)) AS d (type, value)",
    ),
    "username_proofs": (
        "name, type, fid, owner, timestamp, signature, precedence, version",
        "SELECT lower(w.word) || u.i, 'fname', u.i, '0x' || encode(substr(sha256(int8send(u.i)), 13), 'hex'), "
        "bench.at(u.i, {users}), sha512(int8send(u.i)), sha512(int8send(u.i)), 1 "
        "FROM generate_series(1, {users}::bigint) AS u (i) "
        "JOIN bench.words AS w ON w.k = floor(20000 * bench.share(u.i, 21) ^ 2)::integer",
    ),
    "verifications": (
        "fid, address, protocol, timestamp, block_time, hash, verification_type, chain_id, signer, signature, version",
        "SELECT u.i, '0x' || encode(substr(sha512(int8send(u.i)), 1, 20), 'hex'), 'ethereum', bench.at(u.i, {users}), "
        "bench.at(u.i, {users}), substr(sha256(int8send(-u.i)), 1, 20), 0, 0, " + _SIGNED.format(i="u.i") + " "
        "FROM generate_series(1, {users}::bigint) AS u (i) WHERE bench.share(u.i, 23) < 0.6",
    ),
    "on_chain_events": (
        "chain_id, transaction_hash, log_index, type, fid, block_number, block_timestamp, body, version",
        "SELECT 10, sha256(int8send(u.i)), 0, 'id_register', u.i, u.i, bench.at(u.i, {users}), jsonb_build_object("
        "'eventType', 'ID_REGISTER_EVENT_TYPE_REGISTER', 'to', '0x' || encode(substr(sha256(int8send(u.i)), 13), 'hex')"
        "), 1 FROM generate_series(1, {users}::bigint) AS u (i)",
    ),
    "casts": (
        "hash, fid, timestamp, block_time, text, type, parent_fid, parent_hash, parent_url, embeds, mentions, "
        "mentions_positions, signer, signature, version",
        "SELECT bench.hash(c.i), bench.author(c.i), bench.at(c.i, {casts}), bench.at(c.i, {casts}), "
        "p.phrase || ' ' || q.phrase, 'cast', bench.author(c.parent), bench.hash(c.parent), "
        "CASE WHEN c.parent IS NULL AND bench.share(c.i, 8) < 0.4 THEN "
        "'https://channels.example/' || floor({channels} * bench.share(c.i, 9) ^ 3) END, "
        "CASE WHEN bench.share(c.i, 7) < 0.05 THEN jsonb_build_array(jsonb_build_object('castId', jsonb_build_object("
        "'fid', bench.author(bench.hot_cast(c.i, 11)), "
        "'hash', '0x' || encode(bench.hash(bench.hot_cast(c.i, 11)), 'hex')))) "
        "WHEN bench.share(c.i, 7) < 0.25 THEN "
        "jsonb_build_array(jsonb_build_object('url', 'https://pictures.example/' || c.i % 100000)) ELSE '[]' END, "
        "CASE WHEN c.mentions THEN ARRAY[bench.popular(c.i, 6)] ELSE '{}' END, "
        "CASE WHEN c.mentions THEN ARRAY[0] ELSE '{}' END, " + _SIGNED.format(i="c.i") + " "
        "FROM (SELECT i, bench.share(i, 5) < 0.1 AS mentions, CASE "
        "WHEN i > {casts} / 2 AND i <= {casts} / 2 + {chain} THEN i - 1 "
        "WHEN i = 1 OR bench.share(i, 2) > 0.45 THEN NULL "
        "WHEN bench.share(i, 3) < 0.25 AND bench.hot_cast(i, 12) < i THEN bench.hot_cast(i, 12) "
        "ELSE bench.recent_cast(i, i, 4) END AS parent FROM generate_series(1, {casts}::bigint) AS s (i)) AS c "
        f"JOIN bench.phrases AS p ON p.k = {_PHRASE.replace('{salt}', '13')} "
        f"JOIN bench.phrases AS q ON q.k = {_PHRASE.replace('{salt}', '14')} ORDER BY c.i",
    ),
    "reactions": (
        "fid, type, target, target_fid, target_hash, timestamp, block_time, hash, signer, signature, version",
        "SELECT r.fid, r.type, '\\x01'::bytea || int8send(bench.author(r.target)) || bench.hash(r.target), "
        "bench.author(r.target), bench.hash(r.target), bench.at(r.i, {reactions}), bench.at(r.i, {reactions}), "
        "bench.hash(-r.i), " + _SIGNED.format(i="r.i") + " FROM ("
        "SELECT min(i) AS i, fid, type, target FROM (SELECT i, bench.busy(i, 15) AS fid, "
        "CASE WHEN i % 5 = 0 THEN 'recast' ELSE 'like' END AS type, "
        "CASE WHEN bench.share(i, 16) < 0.3 AND bench.hot_cast(i, 17) <= {casts} * i / {reactions} "
        "THEN bench.hot_cast(i, 17) ELSE bench.recent_cast(1 + {casts} * i / {reactions}, i, 18) END AS target "
        "FROM generate_series(1, {reactions}::bigint) AS s (i)) AS d GROUP BY fid, type, target) AS r ORDER BY r.i",
    ),
    "links": (
        "fid, type, target_fid, timestamp, block_time, hash, signer, signature, version",
        "SELECT l.fid, l.type, l.target_fid, bench.at(l.i, {follows}), bench.at(l.i, {follows}), bench.hash(-l.i), "
        + _SIGNED.format(i="l.i")
        + " FROM (SELECT min(i) AS i, fid, type, target_fid FROM (SELECT i, bench.busy(i, 19) AS fid, "
        "CASE WHEN i % 200 = 0 THEN 'block' ELSE 'follow' END AS type, "
        "CASE WHEN i % 3 = 0 THEN bench.popular(i, 24) ELSE bench.busy(i, 24) END AS target_fid "
        "FROM generate_series(1, {follows}::bigint) AS s (i)) AS d "
        "WHERE fid <> target_fid GROUP BY fid, type, target_fid) AS l ORDER BY l.i",
    ),
    "fid_activity": (
        "hour, fid, casts, replies, casts_removed, likes, recasts, follows, unfollows, likes_received, "
        "recasts_received, replies_received, follows_received, version",
        "SELECT date_trunc('hour', at), fid, sum(c), sum(r), 0, sum(l), sum(e), sum(f), 0, sum(lr), sum(er), sum(rr), "
        "sum(fr), 1 FROM ("
        "SELECT block_time, fid, 1, (parent_hash IS NOT NULL)::integer, 0, 0, 0, 0, 0, 0, 0 FROM casts UNION ALL "
        "SELECT block_time, parent_fid, 0, 0, 0, 0, 0, 0, 0, 1, 0 FROM casts WHERE parent_fid IS NOT NULL UNION ALL "
        "SELECT block_time, fid, 0, 0, (type = 'like')::integer, (type = 'recast')::integer, 0, 0, 0, 0, 0 "
        "FROM reactions UNION ALL "
        "SELECT block_time, target_fid, 0, 0, 0, 0, 0, (type = 'like')::integer, (type = 'recast')::integer, 0, 0 "
        "FROM reactions UNION ALL "
        "SELECT block_time, fid, 0, 0, 0, 0, 1, 0, 0, 0, 0 FROM links WHERE type = 'follow' UNION ALL "
        "SELECT block_time, target_fid, 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM links WHERE type = 'follow'"
        ") AS a (at, fid, c, r, l, e, f, lr, er, rr, fr) "
        "WHERE at > to_timestamp({end_unix} - {activity_seconds}) GROUP BY 1, 2 ORDER BY 1, 2",
    ),
}

_DROPPED = (
    *(one.table.qualified for one in DERIVED_TABLES if not set(one.sources).isdisjoint(_FILL)),
    *(one.qualified for one in COUNT_TABLES),
)
"""What `ensure_schema` makes anew, and fills."""


def fill_network(settings: Settings, size: NetworkSize, *, end_unix: int) -> dict[str, int | float]:
    """Make the schema of an empty database and fill it with a network whose last block is at `end_unix`.

    Rows first, indexes after. Gives the rows of each table and the seconds that it took. Statistics and a checkpoint
    come last, so that neither is timed with what follows.
    """
    started = time.perf_counter()
    engine = sa.create_engine(settings.sqlalchemy_url())
    ensure_schema(engine, PARTITIONS)
    with engine.begin() as connection:
        for statement in _statements(size, end_unix):
            _execute(connection, statement)
    for table, (columns, query) in _FILL.items():
        with engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            indexes, key = drop_indexes(connection, table)
            _execute(connection, _filled_in(f"INSERT INTO {table} ({columns}) {query}", size, end_unix))
            _execute(connection, f"ALTER TABLE {table} ADD {key}")
            for index in indexes:
                _execute(connection, index)
            connection.exec_driver_sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        _alone(engine, f"ANALYZE {table}")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {', '.join(_DROPPED)} CASCADE")
        connection.exec_driver_sql("DROP SCHEMA bench CASCADE")
    ensure_schema(engine, PARTITIONS)
    later_indexes.make(engine)
    _alone(engine, "VACUUM ANALYZE")
    _alone(engine, "CHECKPOINT")
    with engine.connect() as connection:
        tables = (*_FILL, "user_profiles", "cast_threads", "cast_mentions", "embeds", "cast_counts")
        rows = {f"rows_{name}": connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0 for name in tables}
    engine.dispose()
    return {**rows, "fill_seconds": time.perf_counter() - started}


def _statements(size: NetworkSize, end_unix: int) -> Iterator[str]:
    for statement in _FUNCTIONS.split(";"):
        yield _filled_in(statement, size, end_unix)


def _filled_in(statement: str, size: NetworkSize, end_unix: int) -> str:
    values = {
        "users": size.users,
        "casts": size.casts,
        "reactions": size.reactions,
        "follows": size.follows,
        "chain": size.chain,
        "hot_casts": size.hot_casts,
        "channels": CHANNELS,
        "phrases": _PHRASES,
        "end_unix": end_unix,
        "seconds": DAYS * 86_400,
        "activity_seconds": ACTIVITY_DAYS * 86_400,
    }
    for name, value in values.items():
        statement = statement.replace(f"{{{name}}}", str(value))
    return statement


def _execute(connection: sa.Connection, statement: str) -> None:
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _alone(engine: sa.Engine, statement: str) -> None:
    """Outside a transaction."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
