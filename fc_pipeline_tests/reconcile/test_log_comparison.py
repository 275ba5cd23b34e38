"""The tables against the raw log: no false alarm, and every damage by hand is found with its hour and mended."""

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.reconcile.log_comparison import compare_with_log, repair_hour
from fc_pipeline.reconcile.log_differences import LogComparison
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.damage import CHANGED, invent
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

OUTPUTS = (RAW_LOG, *DATA_TABLES)
LAST_MINUTE_UNIX = HOUR_UNIX + 3600 - 60
"""Two minutes of a log, of which an hour's end is the middle."""


@pytest.fixture(scope="module")
def bench(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    log = generate(
        7,
        fids=60,
        events=3_600,
        events_per_second=30.0,
        start_unix=LAST_MINUTE_UNIX,
        huge_fids=True,
        unknown_types=True,
    )
    lake = tmp_path_factory.mktemp("replica") / "lake"
    with (
        serving(log_from_lines(log)) as url,
        fresh_database(postgres) as database,
        workbench(database, lake, url) as opened,
    ):
        opened.run()
        yield opened


QUICK = ("casts", "username_proofs", "user_profiles", "fid_activity")
"""A message table, that of another source, and both that are made of others: for `make test`."""


def execute(bench: Workbench, statement: str) -> int:
    with bench.replica.engine.begin() as connection:
        return connection.execute(sa.text(statement)).rowcount


def compared(bench: Workbench) -> LogComparison:
    return compare_with_log(bench.replica, tuple(DATA_TABLES), now=time.time())


def wrong(found: LogComparison) -> dict[str, dict[str, int]]:
    """Per table how many rows are missing, changed and invented, without those of which none is."""
    return {
        name: {
            kind: sum(getattr(one, kind) for one in table.differences) for kind in ("missing", "changed", "invented")
        }
        for name, table in found.tables.items()
        if table.wrong
    }


def test_what_was_just_folded_is_as_the_log_says(bench: Workbench):
    found = compared(bench)
    assert wrong(found) == {}
    assert len(found.hours) == 2
    assert found.events > 3000
    assert not found.unread
    assert all(table.rows for table in found.tables.values())


@pytest.mark.parametrize(
    "table",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DATA_TABLES],
)
def test_damage_by_hand_is_found_and_mended_from_the_log(bench: Workbench, table: str):
    before = bench.dump()
    key = ", ".join(DATA_TABLES[table].key)
    rows = len(before[table])
    few = min(20, (rows + 1) // 2)
    execute(
        bench,
        f"CREATE TABLE chosen AS SELECT {key}, row_number() OVER (ORDER BY {key}) AS place FROM {table} "
        "WHERE version > 1000",
    )
    invented = execute(bench, invent(table, 5))
    changed_where = CHANGED[table].partition(" WHERE ")
    some = f"({key}) IN (SELECT {key} FROM chosen WHERE place"
    changed = execute(bench, f"UPDATE {table} SET {changed_where[0]} WHERE {some} <= {few}) AND ({changed_where[2]})")
    deleted = execute(bench, f"DELETE FROM {table} WHERE {some} BETWEEN {few + 1} AND {few + 200})")
    execute(bench, "DROP TABLE chosen")
    assert (invented, bool(changed), bool(deleted)) == (min(5, rows), True, rows > few)

    found = compared(bench)
    assert sum(wrong(found)[table].values()) >= invented + deleted
    assert all(one.hour in found.hours for one in found.tables[table].differences), found.tables[table]
    assert all(one.example for one in found.tables[table].differences)

    for hour in sorted({one.hour for one in found.tables[table].differences if one.hour}, key=lambda h: h.start_unix):
        repair_hour(bench.replica, hour, [table])
    again = compared(bench)
    assert table not in wrong(again)
    for hour in again.hours:
        repair_hour(bench.replica, hour, ["user_profiles"])
    assert wrong(compared(bench)) == {}
    assert bench.dump() == before


@pytest.mark.parametrize(
    ("source", "follows"),
    [
        ("casts", "embeds"),
        ("user_data", "user_profiles"),
        ("on_chain_events", "signers"),
        ("on_chain_events", "storage_rents"),
        ("channel_settings", "channels"),
        ("reactions", "channel_follows"),
    ],
)
def test_what_follows_from_a_table_comes_back_with_it_in_whatever_order_both_are_made_again(
    bench: Workbench, source: str, follows: str
):
    """The one that follows is made again first, from a source that lacks half of its rows, and so loses right rows."""
    before = bench.dump()
    key = ", ".join(DATA_TABLES[source].key)
    half = f"SELECT {key} FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) AS place FROM {source}) AS numbered"
    assert execute(bench, f"DELETE FROM {source} WHERE ({key}) IN ({half} WHERE place % 2 = 0)")
    for hour in bench.replica.log.hours():
        repair_hour(bench.replica, hour, [follows])
    assert bench.dump(follows) != {follows: before[follows]}
    bench.rebuild(source)
    assert bench.dump(source, follows) == {source: before[source], follows: before[follows]}
    bench.rebuild()
    assert bench.dump() == before


def test_hours_that_are_not_over_are_left_out(bench: Workbench):
    first, second = Hour(HOUR_UNIX), Hour(HOUR_UNIX).next
    found = compare_with_log(bench.replica, ["casts"], now=second.start_unix + 600)
    assert list(found.hours) == [first]
    assert wrong(found) == {}
