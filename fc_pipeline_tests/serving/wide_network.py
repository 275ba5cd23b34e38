"""Tables of so many rows that a server would read none of them through for a few, and calls that ask for such."""

from typing import Final

import sqlalchemy as sa

from fc_pipeline.store import later_indexes

__all__ = ["CALLS", "fill"]

USERS: Final = 2_000
_HASH: Final = "substr(sha256(int8send({})), 1, 20)"
_TIME: Final = "timestamptz '2026-11-01' + i * interval '1 minute'"
# Counts and threads follow from the other rows here, not from triggers, which take their time.
_ROWS: Final = (
    "SET LOCAL session_replication_role = replica",
    f"""INSERT INTO user_profiles (fid, username, display_name, custody_address, version, updated_at)
    SELECT i, 'user' || i, 'Display ' || md5(i::text), '0x' || md5(i::text), i, now()
    FROM generate_series(1, {USERS}) AS i""",
    f"""INSERT INTO verifications (fid, address, protocol, version)
    SELECT 1 + i % {USERS}, '0x' || md5('v' || i), 'ethereum', i FROM generate_series(1, 20000) AS i""",
    f"""INSERT INTO casts (hash, fid, timestamp, block_time, text, parent_hash, parent_fid, parent_url, embeds,
      mentions, mentions_positions, version)
    SELECT {_HASH.format("i")}, 1 + i % {USERS}, {_TIME}, {_TIME}, 'all word' || i % 500,
      CASE WHEN i % 4 = 0 THEN {_HASH.format("i / 100 * 100 + 1")} END,
      CASE WHEN i % 4 = 0 THEN 1 + (i / 100 * 100 + 1) % {USERS} END,
      CASE WHEN i % 4 = 1 THEN 'https://channel/' || i % 100 END, '[]',
      CASE WHEN i % 4 = 2 THEN ARRAY[1 + i % 50] ELSE '{{}}' END, CASE WHEN i % 4 = 2 THEN ARRAY[3] ELSE '{{}}' END, i
    FROM generate_series(1, 25000) AS i""",
    f"""INSERT INTO embeds (hash, position, fid, cast_hash, version)
    SELECT {_HASH.format("i")}, 0, 1 + i % {USERS}, {_HASH.format("i - 1")}, i FROM generate_series(2, 20000) AS i""",
    "INSERT INTO cast_mentions (hash, mentioned_fid, fid, network_time, version) "
    "SELECT hash, mentions[1], fid, block_time, version FROM casts WHERE mentions <> '{}'",
    "INSERT INTO cast_threads (hash, fid, root_hash, root_fid, parent_hash, depth, version) SELECT hash, fid, "
    "coalesce(parent_hash, hash), coalesce(parent_fid, fid), parent_hash, (parent_hash IS NOT NULL)::integer, version "
    "FROM casts",
    f"""INSERT INTO reactions (fid, type, target, target_fid, target_hash, timestamp, block_time, version)
    SELECT 1 + i % {USERS}, CASE WHEN i % 3 = 0 THEN 'recast' ELSE 'like' END,
      '\\x01'::bytea || int8send(c.fid) || c.hash, c.fid, c.hash, {_TIME}, {_TIME}, i
    FROM (SELECT i, i * 7 % 25000 + 1 AS cast FROM generate_series(1, 40000) AS i) AS r
    JOIN casts AS c ON c.version = r.cast
    ON CONFLICT DO NOTHING""",
    f"""INSERT INTO links (fid, type, target_fid, timestamp, block_time, version)
    SELECT 1 + i % {USERS}, 'follow', 1 + (i / {USERS} * 37 + i) % {USERS}, {_TIME}, {_TIME}, i
    FROM generate_series(1, 40000) AS i ON CONFLICT DO NOTHING""",
    """INSERT INTO links (fid, type, target_fid, timestamp, version)
    SELECT target_fid, type, fid, timestamp, version FROM links WHERE version % 3 = 0 ON CONFLICT DO NOTHING""",
    f"INSERT INTO links (fid, type, target_fid, version) SELECT i, 'block', 1 + i * 7 % {USERS}, i "
    "FROM generate_series(1, 200) AS i",
    "INSERT INTO cast_counts SELECT target_hash, 0, count(*), 0, 0 FROM reactions GROUP BY 1",
    "INSERT INTO user_counts SELECT target_fid, count(*), 0, 0, 0 FROM links GROUP BY 1",
    f"""INSERT INTO fid_activity SELECT h, f, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
    FROM generate_series(timestamptz '2026-11-10', '2026-11-12', '1 hour') AS h, generate_series(1, {USERS}, 4) AS f""",
)
_HASHES: Final = "ARRAY(SELECT api.hash_text(substr(sha256(int8send(i)), 1, 20)) FROM generate_series(1, 50) AS i)"
_ROOT: Final = "api.hash_text(substr(sha256(int8send(101)), 1, 20))"
_LIKED: Final = "api.hash_text(substr(sha256(int8send(8)), 1, 20))"

CALLS: Final = (
    "following_feed(7)",
    "following_feed(7, true, 100)",
    "feed_of(ARRAY[1, 2, 3], 7)",
    "user_casts(21, 7)",
    "channel_feed('https://channel/5', 7)",
    f"replies({_ROOT}, 7)",
    f"conversation({_ROOT}, 7)",
    "liked_casts(9, 7)",
    "liked_casts(9, 7, 'recast')",
    "top_casts(9, 7)",
    "trending('1 hour', '2026-11-10')",
    f"casts_by_hash({_HASHES}, 7)",
    f"cast_by_hash({_ROOT}, 7)",
    f"cast_context(7, {_HASHES})",
    f"cast_reactions({_LIKED}, 7)",
    "search_casts('word77')",
    "search_casts('all')",
    "search_casts('wor*', until => '2026-11-10')",
    "search_casts('all', 22)",
    "search_casts('word77', 78)",
    "search_casts('word5', url => 'https://channel/5')",
    "users(ARRAY(SELECT generate_series(1, 100)), 7)",
    "user_by_name('@User7')",
    "users_by_prefix('user12')",
    "users_by_prefix('display a')",
    "users_by_address(ARRAY['0X' || md5('v7'), '0x' || md5('7')])",
    "user_context(7, ARRAY(SELECT generate_series(1, 100)))",
    "followers(9, 7)",
    "following(9, 7)",
    "mutual_follows(9)",
    "suggested_follows(9)",
    "notifications(2)",
    "notifications(1)",
    "active_users('1 hour', '2026-11-11')",
    "user_statistics(5, '2026-11-10')",
    "hourly_statistics('2026-11-11')",
)
"""Each finds something."""


def fill(engine: sa.Engine) -> None:
    """Insert the rows, and have the server look at them."""
    with engine.begin() as connection:
        for statement in _ROWS:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    later_indexes.make(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE")
