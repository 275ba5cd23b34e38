"""Pages walked and changes pulled while rows arrive: whether anything is told twice, or not at all."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fc_pipeline.store.session import PsycopgConnection
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline_tests.benchmarks.read_calls import Drawn

__all__ = ["Pull", "walk_all"]

_PAGES = 60
_PAGE_ROWS = 100
_PULLED: Sequence[str] = ("casts", "reactions", "links", "user_data")
_PULLED_ROWS = 2_000


@dataclass(frozen=True)
class _Walk:
    """A call that has pages, the column that tells its rows apart, and what it lists, first to last, in plain SQL."""

    call: str
    key: str
    listed: str


_TIME = 'coalesce({0}.block_time, {0}."timestamp")'
_OF_CASTS = f"c.deleted_at IS NULL ORDER BY {_TIME.format('c')} DESC, c.hash DESC"
_OF_LINKS = f"l.type = 'follow' AND l.deleted_at IS NULL ORDER BY {_TIME.format('l')} DESC"
_IS_SHOWN = "EXISTS (SELECT FROM user_profiles AS p WHERE p.fid = {0} AND p.deleted_at IS NULL)"

_WALKS = (
    _Walk(
        "following_feed(%(viewer)s",
        "hash",
        "SELECT api.hash_text(c.hash) FROM casts AS c JOIN links AS l ON l.target_fid = c.fid AND l.fid = %(viewer)s "
        "AND l.type = 'follow' AND l.deleted_at IS NULL "
        f"WHERE c.parent_hash IS NULL AND c.fid <> ALL (api.blocks(%(viewer)s)) AND {_OF_CASTS}",
    ),
    _Walk(
        "user_casts(%(user)s",
        "hash",
        f"SELECT api.hash_text(hash) FROM casts AS c WHERE fid = %(user)s AND {_OF_CASTS}",
    ),
    _Walk(
        "channel_feed(%(channel)s",
        "hash",
        f"SELECT api.hash_text(hash) FROM casts AS c WHERE parent_url = %(channel)s AND {_OF_CASTS}",
    ),
    _Walk(
        "replies(%(replied)s",
        "hash",
        f"SELECT api.hash_text(hash) FROM casts AS c WHERE parent_hash = api.hash_bytes(%(replied)s) AND {_OF_CASTS}",
    ),
    _Walk(
        "followers(%(user)s",
        "fid",
        f"SELECT fid FROM links AS l WHERE target_fid = %(user)s AND {_IS_SHOWN.format('l.fid')} AND {_OF_LINKS}, "
        "l.fid DESC",
    ),
    _Walk(
        "following(%(viewer)s",
        "fid",
        f"SELECT target_fid FROM links AS l WHERE fid = %(viewer)s AND {_IS_SHOWN.format('l.target_fid')} "
        f"AND {_OF_LINKS}, l.target_fid DESC",
    ),
    _Walk(
        "cast_reactions(%(cast)s",
        "fid",
        "SELECT fid FROM reactions AS r WHERE target_hash = api.hash_bytes(%(cast)s) AND type = 'like' "
        f"AND deleted_at IS NULL AND {_IS_SHOWN.format('r.fid')} ORDER BY {_TIME.format('r')} DESC, fid DESC",
    ),
)


def walk_all(connection: PsycopgConnection, drawn: Drawn) -> dict[str, Any]:
    """Walk the lists of what is hottest, page by page; of the rows that stayed all the while none may be missing."""
    arguments = drawn.hottest_arguments()
    pages_ms: list[float] = []
    figures: dict[str, Any] = {"walked_rows": 0, "walked_twice": 0, "walked_skipped": 0}
    for walk in _WALKS:
        before = [key for (key,) in _rows(connection, walk.listed, arguments)]
        walked = _walk(connection, walk, arguments, pages_ms)
        after = {key for (key,) in _rows(connection, walk.listed, arguments)}
        seen = set(walked)
        # What stands behind the last row of the walk was not to be seen yet.
        end = 1 + max((place for place, key in enumerate(before) if key in seen), default=-1)
        figures["walked_rows"] += len(walked)
        figures["walked_twice"] += len(walked) - len(seen)
        figures["walked_skipped"] += sum(key in after and key not in seen for key in before[:end])
    return {**figures, "pages": len(pages_ms), "page_ms_p95": float(np.quantile(pages_ms, 0.95))}


def _walk(connection: PsycopgConnection, walk: _Walk, arguments: dict[str, Any], pages_ms: list[float]) -> list[Any]:
    page = f"SELECT {walk.key}, next_cursor FROM api.{walk.call}, page_size => {_PAGE_ROWS}, cursor => %(cursor)s)"
    cursor: str | None = None
    walked: list[Any] = []
    for _ in range(_PAGES):
        started = time.perf_counter()
        rows = _rows(connection, page, {**arguments, "cursor": cursor})
        pages_ms.append((time.perf_counter() - started) * 1000)
        if not rows:
            break
        walked += [key for key, _ in rows]
        cursor = rows[-1][1]
    return walked


class Pull:
    """Copies that follow some tables by `api.changes_since`, from the moment at which this is made."""

    def __init__(self, connection: PsycopgConnection) -> None:
        self._connection = connection
        [(self._start,)] = _rows(connection, "SELECT api.change_horizon()")
        self._cursors = dict.fromkeys(_PULLED, self._start)
        self._told: Counter[tuple[Any, ...]] = Counter()
        self._copies: dict[str, dict[tuple[Any, ...], int]] = {table: {} for table in _PULLED}
        self._pull_ms: list[float] = []

    def pull(self, seconds: float) -> None:
        """Ask for what is new of each table, for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for table in _PULLED:
                self._pull_once(table)

    def _pull_once(self, table: str) -> int:
        started = time.perf_counter()
        found = _rows(
            self._connection,
            f"SELECT * FROM api.changes_since('{table}', %(cursor)s, {_PULLED_ROWS})",
            {"cursor": self._cursors[table]},
        )
        self._pull_ms.append((time.perf_counter() - started) * 1000)
        for change_id, is_removed, row in found:
            key = tuple(row[name] for name in MESSAGE_TABLES[table].key)
            self._told[table, change_id, is_removed, key] += 1
            if is_removed:
                self._copies[table].pop(key, None)
            else:
                self._copies[table][key] = change_id
            self._cursors[table] = max(self._cursors[table], change_id)
        return len(found)

    def finish(self) -> dict[str, Any]:
        """Pull the rest, after the last writer has ended, and compare with the tables."""
        for table in _PULLED:
            while self._pull_once(table):
                pass
        missed = 0
        for table in _PULLED:
            names = ", ".join(f"to_jsonb({name})" for name in MESSAGE_TABLES[table].key)
            changed = f"SELECT change_id, {names} FROM {table} WHERE change_id > %(start)s"
            rows = {
                tuple(key): change_id for change_id, *key in _rows(self._connection, changed, {"start": self._start})
            }
            missed += len(rows.items() ^ self._copies[table].items())
        return {
            "pulls": len(self._pull_ms),
            "pulled_rows": self._told.total(),
            "pulled_twice": self._told.total() - len(self._told),
            "pulled_missed": missed,
            "pull_ms_p50": float(np.quantile(self._pull_ms, 0.5)),
            "pull_ms_p95": float(np.quantile(self._pull_ms, 0.95)),
        }


def _rows(connection: PsycopgConnection, query: str, arguments: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, arguments)
        return cursor.fetchall()
