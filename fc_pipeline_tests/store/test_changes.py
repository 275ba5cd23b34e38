"""Stamps of change and api.changes_since: every change is told once, whatever transactions write beside one another."""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database

WRITERS = 4
TRANSACTIONS = 60


@pytest.fixture
def replica(database: Database) -> FoldedDatabase:
    return FoldedDatabase(database.url, database.engine)


def changes(replica: FoldedDatabase, cursor: int, max_rows: int = 50, table: str = "links") -> list[Any]:
    return replica.rows(
        "SELECT change_id, is_removed, row FROM api.changes_since(:table, :cursor, :max_rows)",
        table=table,
        cursor=cursor,
        max_rows=max_rows,
    )


@contextmanager
def writing(replica: FoldedDatabase) -> Iterator[Flag]:
    """Transactions of several writers that insert, update and delete, and end in another order than they begin."""
    done = Flag()

    def write(writer: int) -> None:
        rng = random.Random(writer)
        engine = sa.create_engine(replica.engine.url)
        for n in range(TRANSACTIONS):
            with engine.begin() as connection:
                key = {"fid": writer, "target": rng.randrange(30), "version": n}
                connection.execute(
                    sa.text(
                        "INSERT INTO links (fid, type, target_fid, version) VALUES (:fid, 'follow', :target, :version) "
                        "ON CONFLICT (fid, type, target_fid) DO UPDATE SET version = excluded.version"
                    ),
                    key,
                )
                connection.execute(sa.text("SELECT pg_sleep(:seconds)"), {"seconds": rng.random() / 100})
                if rng.random() < 0.3:
                    connection.execute(sa.text("DELETE FROM links WHERE fid = :fid AND target_fid < 5"), key)
        engine.dispose()

    writers = [Thread(target=write, args=(writer,)) for writer in range(1, WRITERS + 1)]
    for one in writers:
        one.start()
    watcher = Thread(target=lambda: ([one.join() for one in writers], done.set()))
    watcher.start()
    yield done
    watcher.join()


def test_a_copy_kept_by_increments_equals_the_table_and_nothing_is_told_twice(replica: FoldedDatabase) -> None:
    copy: dict[tuple[int, int], int] = {}
    told: Counter[tuple[int, bool, int, int]] = Counter()
    cursor, rounds = 0, 0
    with writing(replica) as done:
        while True:
            is_last = done.is_set()
            found = changes(replica, cursor)
            for change_id, is_removed, row in found:
                key = (row["fid"], row["target_fid"])
                told[(change_id, is_removed, *key)] += 1
                assert change_id > cursor
                if is_removed:
                    copy.pop(key, None)
                else:
                    copy[key] = row["version"]
            cursor = max([cursor, *(row.change_id for row in found)])
            rounds += 1
            if is_last and not found:
                break
    table = {(row.fid, row.target_fid): row.version for row in replica.rows("SELECT * FROM links")}
    assert copy == table
    assert set(told.values()) == {1}
    assert rounds > 10


def test_a_transaction_that_began_earlier_and_ends_later_is_not_skipped(replica: FoldedDatabase) -> None:
    insert = sa.text("INSERT INTO links (fid, type, target_fid, version) VALUES (:fid, 'follow', :fid, 1)")
    with replica.engine.connect() as slow:
        slow.execute(insert, {"fid": 1})
        with replica.engine.begin() as quick:
            quick.execute(insert, {"fid": 2})
        assert changes(replica, 0) == []
        slow.commit()
    assert [row.row["fid"] for row in changes(replica, 0)] == [1, 2]


def test_the_changes_of_one_transaction_come_together(replica: FoldedDatabase) -> None:
    with replica.engine.begin() as connection:
        many = "SELECT n, 'follow', 1, 1 FROM generate_series(1, 90) AS n"
        connection.execute(sa.text(f"INSERT INTO links (fid, type, target_fid, version) {many}"))
    with replica.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM links WHERE fid > 80"))
        connection.execute(sa.text("INSERT INTO links (fid, type, target_fid, version) VALUES (81, 'follow', 1, 2)"))
    first = changes(replica, 0, max_rows=3)
    assert len(first) == 80
    second = changes(replica, first[0].change_id, max_rows=3)
    assert [row.is_removed for row in second] == [True] * 10 + [False]
    assert second[-1].row["version"] == 2
    assert changes(replica, second[-1].change_id) == []


@pytest.mark.parametrize(
    ("table", "cursor", "says"),
    [
        ("nothing", 0, "no table nothing whose changes can be read"),
        ('x"; DROP TABLE casts', 0, "no table"),
        (None, 0, "no table NULL"),
        ("casts", 10**15, "not of this server"),
        ("casts", None, "not of this server"),
    ],
)
def test_bad_input_is_refused_with_a_hint(
    replica: FoldedDatabase, table: str | None, cursor: int | None, says: str
) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=says) as caught:
        changes(replica, cursor, table=table)  # pyright: ignore[reportArgumentType]
    assert "HINT" in str(caught.value.orig)


@pytest.mark.parametrize("name", sorted(ALL_TABLES))
def test_every_change_of_every_table_moves_its_stamps_and_a_deletion_leaves_its_key(
    replica: FoldedDatabase, name: str
) -> None:
    table = ALL_TABLES[name]
    wanted = [c for c in table.columns if c.name in table.key or not c.nullable]
    values = {c.name: f"(SELECT {_SOME[c.type.postgres]})" for c in wanted}
    insert = f"INSERT INTO {name} ({', '.join(values)}) VALUES ({', '.join(values.values())})"
    stamps: list[Any] = []
    for statement in (insert, f"UPDATE {name} SET version = 2", f"UPDATE {name} SET deleted_at = now(), change_id = 5"):
        with replica.engine.begin() as connection:
            connection.execute(sa.text(statement))
        stamps += replica.rows(f"SELECT change_id FROM {name}")
    assert sorted(set(stamps)) == stamps
    assert len(stamps) == 3
    with replica.engine.begin() as connection:
        connection.execute(sa.text(f"DELETE FROM {name}"))
    (removal,) = changes(replica, stamps[-1].change_id, table=name)
    assert removal.is_removed
    assert set(removal.row) == set(table.key)


_SOME = {
    "bigint": "1",
    "integer": "1",
    "text": "'x'",
    "bytea": "'\\x01'::bytea",
    "timestamp with time zone": "now()",
    "boolean": "true",
    "jsonb": "'{}'::jsonb",
    "bigint[]": "ARRAY[1::bigint]",
    "integer[]": "ARRAY[1]",
    "text[]": "ARRAY['x']",
}
