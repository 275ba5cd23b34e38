"""Which users' gasless keys are to be read from a hub: for a key that no row explains, or because it was long ago.

Bounded: a key is asked for a few times at most, each time later, a user who cannot be read rests for a day, and so does
all of it where the hub has no such endpoint.
"""

from collections.abc import Collection, Mapping
from typing import Final

import sqlalchemy as sa

from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.store.bookkeeping import UNREAD_KEYS
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import ATTRIBUTED_TABLES
from fc_pipeline.tables.signers import SIGNERS

__all__ = ["due_fids", "find_unexplained", "is_anything_due", "note_lacking", "note_read", "note_unread"]

MAX_ATTEMPTS: Final = 3
"""A key that no answer explained so often is asked for no more: an hour after the first time, a day after that."""
ROUND_HOURS: Final = 24
"""So old the oldest reading of an open key may become; a round then takes all of more than half of that."""
OVERLAP_MINUTES: Final = 5
"""What is committed may have begun a little before what was committed earlier."""
FIRST_SEARCH_MINUTES: Final = 15

_LAST_SEARCH: Final = (
    f"coalesce((SELECT searched_at FROM pipeline.key_search), now() - interval '{FIRST_SEARCH_MINUTES} minutes') "
    f"- interval '{OVERLAP_MINUTES} minutes'"
)
_FOLDED_SINCE: Final = sa.text(
    "SELECT lower(folded) AS first, upper(folded) AS beyond FROM (SELECT range_agg(int8range(from_height, to_height, "
    f"'[]')) AS heights FROM pipeline.coverage WHERE committed_at >= {_LAST_SEARCH}) AS c, unnest(c.heights) AS folded"
)
_SIGNED: Final = " UNION ALL ".join(
    f"SELECT m.fid, m.signer FROM {table.qualified} AS m "
    "WHERE m.version BETWEEN :first_id AND :last_id AND m.app_fid IS NULL AND m.signer IS NOT NULL"
    for table in ATTRIBUTED_TABLES
)
# Of a user who was never read nothing is known of keys either: the first snapshot reads them. OFFSET 0: each
# key is looked up once, by index, where a join may read all keys through.
_NOTE_UNEXPLAINED: Final = sa.text(
    f"INSERT INTO pipeline.unexplained_keys (fid, key) SELECT u.fid, u.signer "
    f"FROM (SELECT DISTINCT fid, signer FROM ({_SIGNED}) AS s OFFSET 0) AS u "
    f"WHERE NOT EXISTS (SELECT FROM {SIGNERS.qualified} AS k WHERE k.fid = u.fid AND k.key = u.signer OFFSET 0) "
    f"AND EXISTS (SELECT FROM {ON_CHAIN_EVENTS.qualified} AS e WHERE e.fid = u.fid AND e.type = 'id_register' "
    "AND e.deleted_at IS NULL OFFSET 0) ON CONFLICT DO NOTHING"
)
_NOTE_SEARCH: Final = sa.text(
    "INSERT INTO pipeline.key_search (searched_at) VALUES (now()) "
    "ON CONFLICT (is_only) DO UPDATE SET searched_at = now()"
)
_MAY_ASK: Final = (
    "NOT EXISTS (SELECT FROM pipeline.key_search WHERE lacking_at > now() - interval '1 day') "
    "AND NOT EXISTS (SELECT FROM pipeline.unread_keys AS x WHERE x.fid = d.fid "
    "AND x.tried_at > now() - interval '1 day')"
)
_WAITING: Final = (
    "SELECT fid, min(found_at) AS since FROM pipeline.unexplained_keys "
    f"WHERE attempts < {MAX_ATTEMPTS} AND (asked_at IS NULL "
    "OR asked_at < now() - interval '1 hour' * CASE attempts WHEN 1 THEN 1 ELSE 24 END) GROUP BY fid"
)
_READ_LONG_AGO: Final = (
    f"SELECT fid, min(read_at) AS since FROM {GASLESS_KEYS.qualified} WHERE removed_at IS NULL "
    "AND read_at < now() - interval '{hours} hours' GROUP BY fid"
)
_IS_DUE: Final = sa.text(
    f"SELECT EXISTS (SELECT FROM ({_WAITING} UNION ALL {_READ_LONG_AGO.format(hours=ROUND_HOURS)}) AS d "
    f"WHERE {_MAY_ASK})"
)
# Who waits for the first time comes first.
_DUE: Final = sa.text(
    f"SELECT d.fid FROM (SELECT 0 AS place, w.* FROM ({_WAITING}) AS w "
    f"UNION ALL SELECT 1, r.* FROM ({_READ_LONG_AGO.format(hours=ROUND_HOURS // 2)}) AS r) AS d WHERE {_MAY_ASK} "
    "GROUP BY d.fid ORDER BY min(d.place), min(d.since), d.fid LIMIT :most"
)
_NOTE_ASKED: Final = sa.text(
    "UPDATE pipeline.unexplained_keys SET asked_at = now(), attempts = attempts + 1 WHERE fid = ANY (:fids)"
)
_FORGET_EXPLAINED: Final = sa.text(
    f"DELETE FROM pipeline.unexplained_keys AS u USING {SIGNERS.qualified} AS k "
    "WHERE u.fid = ANY (:fids) AND k.fid = u.fid AND k.key = u.key"
)
_NOTE_LACKING: Final = sa.text(
    "INSERT INTO pipeline.key_search (lacking_at) VALUES (now()) ON CONFLICT (is_only) DO UPDATE SET lacking_at = now()"
)


def find_unexplained(engine: sa.Engine) -> int:
    """Note the keys that signed what was folded since the last search and that no row of `signers` has; how many.

    Reads the rows that the ledger's lines since then may have decided, by their versions.
    """
    with engine.begin() as connection:
        hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
        found = 0
        # Each range by itself: between shards, and between an old hour and the present one, lie years of rows.
        for first, beyond in connection.execute(_FOLDED_SINCE):
            span = {"first_id": first_event_id(first), "last_id": first_event_id(beyond) - 1}
            found += connection.execute(_NOTE_UNEXPLAINED, span).rowcount
        connection.execute(_NOTE_SEARCH)
        return found


def is_anything_due(connection: sa.Connection) -> bool:
    """Whether somebody's keys are to be read now."""
    return bool(connection.scalar(_IS_DUE))


def due_fids(connection: sa.Connection, most: int) -> list[int]:
    """Whose keys to read, at most so many: users with unexplained keys first, then those read longest ago."""
    return list(connection.scalars(_DUE, {"most": most}))


def note_read(connection: sa.Connection, fids: Collection[int]) -> None:
    """Note that these users' keys were read and folded; what was explained by that is forgotten."""
    values = {"fids": list(fids)}
    connection.execute(_NOTE_ASKED, values)
    connection.execute(_FORGET_EXPLAINED, values)
    connection.execute(sa.delete(UNREAD_KEYS).where(UNREAD_KEYS.c.fid.in_(values["fids"])))


def note_unread(connection: sa.Connection, reasons: Mapping[int, str]) -> None:
    """Note that a hub could not answer for these users, and why."""
    for fid, reason in reasons.items():
        connection.execute(sa.delete(UNREAD_KEYS).where(UNREAD_KEYS.c.fid == fid))
        connection.execute(sa.insert(UNREAD_KEYS).values(fid=fid, failure=reason))


def note_lacking(connection: sa.Connection) -> None:
    """Note that the hub has no endpoint for keys."""
    connection.execute(_NOTE_LACKING)
