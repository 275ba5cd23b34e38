"""Tables from the raw log alone, the hub switched off."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.errors import LakeError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DATA_TABLES, DERIVED_TABLES
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.folded import STATE_TABLES
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.workbench import OUTPUTS, Workbench, workbench

HOUR = Hour(HOUR_UNIX)
DERIVED = {one.name for one in DERIVED_TABLES}
BOTH = HourWindow(HOUR, HOUR.next)


@contextmanager
def offline(database: Database, lake: Path) -> Iterator[Workbench]:
    """The replica where no hub answers."""
    with workbench(database, lake, "http://127.0.0.1:9") as bench:
        yield bench


@pytest.fixture
def filled(database: Database, lake: Path, lines: list[bytes]) -> Iterator[Workbench]:
    """A replica with all of the log folded, whose hub is gone."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url, batch_events=400) as bench:
        bench.run()
    with offline(database, lake) as bench:
        yield bench


def execute(bench: Workbench, statement: str) -> None:
    with bench.replica.engine.begin() as connection:
        connection.execute(sa.text(statement))


@pytest.mark.parametrize(
    "tables",
    [("casts", "embeds", "storage_lends"), pytest.param(tuple(DATA_TABLES), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_a_dropped_table_comes_back_from_the_raw_log(
    filled: Workbench, database: Database, lake: Path, tables: tuple[str, ...]
) -> None:
    before, coverage = filled.dump(), filled.ledger()
    for table in tables:
        execute(filled, f"DROP TABLE {table} CASCADE")
        with offline(database, lake) as bench:
            if table in DERIVED:
                assert bench.dump() == before, table  # made of what is there
                assert bench.rows(f"SELECT FROM pipeline.coverage WHERE '{table}' <> ALL (tables)") == []
            else:
                assert bench.rows(f"SELECT * FROM {table}") == []
            progress = bench.rebuild(table)
            assert bench.dump() == before, table
            assert bench.ledger() == coverage
            assert [hour.hour for hour in progress.hours] == [HOUR, HOUR.next]
            assert bench.rows("SELECT count(*) FROM storage")[0][0] > 0


@pytest.mark.slow
def test_a_rebuild_of_what_is_right_writes_nothing(filled: Workbench) -> None:
    before = filled.dump()
    progress = filled.rebuild()
    assert filled.dump() == before
    assert progress.events == sum(map(len, filled.logged().values()))
    written = {name: hour.tables[name].written.rows for hour in progress.hours for name in hour.tables}
    assert written == dict.fromkeys(DATA_TABLES, 0)


@pytest.mark.slow
def test_a_rebuild_of_one_table_touches_only_that_table(filled: Workbench) -> None:
    before = filled.dump()
    counts = {one.name for one in COUNT_TABLES}  # which no event says: they follow what is written
    for name in set(STATE_TABLES) - counts - {"signers"}:  # by which casts are attributed
        execute(filled, f"DELETE FROM {name} WHERE ctid IN (SELECT ctid FROM {name} LIMIT 3)")
    damaged = filled.dump()
    filled.rebuild("casts")
    after = filled.dump()
    assert after["casts"] == before["casts"] != damaged["casts"]
    following = {one.name for one in DERIVED_TABLES if "casts" in one.sources} | counts
    others = [name for name in STATE_TABLES if name != "casts" and name not in following]
    assert {name: after[name] for name in others} == {name: damaged[name] for name in others}
    filled.rebuild()
    assert filled.dump() == before


@pytest.mark.slow
def test_a_rebuild_of_one_hour_touches_only_that_hour(filled: Workbench) -> None:
    before = filled.dump("fid_activity")
    execute(filled, "DELETE FROM fid_activity")
    filled.rebuild("fid_activity", window=HourWindow(HOUR, HOUR))
    hours = {row.hour for row in filled.rows("SELECT hour FROM fid_activity")}
    assert hours == {HOUR.start}
    filled.rebuild("fid_activity", window=HourWindow(HOUR.next, HOUR.next))
    assert filled.dump("fid_activity") == before


@pytest.mark.slow
def test_wrong_counts_of_activity_are_set_right(filled: Workbench) -> None:
    before = filled.dump("fid_activity")
    execute(filled, "UPDATE fid_activity SET casts = casts + 1, likes = 0")
    filled.rebuild("fid_activity")
    assert filled.dump("fid_activity") == before


@pytest.mark.slow
def test_the_whole_database_comes_back_from_the_lake(
    filled: Workbench, lake: Path, postgres: EmbeddedPostgres, lines: list[bytes]
) -> None:
    before, coverage, quarantine = filled.dump(), filled.ledger(), filled.quarantine()
    with fresh_database(postgres) as lost:
        with offline(lost, lake) as bench:
            bench.rebuild()
            assert bench.dump() == before
            assert bench.ledger() == coverage
            assert bench.quarantine() == quarantine
            events = bench.rows("SELECT sum(events) AS n FROM pipeline.coverage")[0].n
            assert events == len(lines)
        # With the hub there again, nothing is missing: the raw log itself counts as written, too.
        with serving(log_from_lines(lines)) as url, workbench(lost, lake, url) as bench:
            assert [shard.holes for shard in bench.survey(OUTPUTS).shards] == [(), ()]
            assert bench.missing_hours() == []


@pytest.mark.slow
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_lost_database_comes_back_hour_by_hour_in_any_order(
    filled: Workbench, lake: Path, postgres: EmbeddedPostgres, order: list[int]
) -> None:
    before = filled.dump()
    with fresh_database(postgres) as lost, offline(lost, lake) as bench:
        for index in order:
            hour = (HOUR, HOUR.next)[index]
            bench.rebuild(window=HourWindow(hour, hour))
        assert bench.dump() == before


@pytest.mark.slow
def test_tables_one_after_the_other(database: Database, lake: Path, lines: list[bytes]) -> None:
    """Only the raw log is read from the hub; each table is made later, on its own, and the ledger knows of each."""
    log = log_from_lines(lines)
    with serving(log) as url, workbench(database, lake, url) as bench:
        bench.run("log", BOTH, ["hub_events"])
        assert bench.rows("SELECT * FROM casts") == []
        assert bench.survey(["hub_events"]).unfinished == ()
        assert bench.survey(["hub_events", "casts"]).unfinished == (HOUR, HOUR.next)
    with offline(database, lake) as bench:
        for number, table in enumerate(DATA_TABLES):
            bench.rebuild(table, run_id=f"table {number}")
        apart = bench.dump()
        quarantine = bench.quarantine()
        tables = bench.rows("SELECT DISTINCT unnest(tables) AS name FROM pipeline.coverage")
        assert {row.name for row in tables} == {*OUTPUTS, OTHER_LEAVES.name}
        bench.tables.empty()
        bench.rebuild()
        assert bench.dump() == apart
        assert bench.quarantine() == quarantine


@pytest.mark.slow
def test_a_run_makes_the_tables_that_earlier_runs_left_out(database: Database, lake: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run("some", BOTH, ["hub_events", "casts", "fid_activity"])
        bench.run("all", BOTH)
        assert bench.missing_hours() == []
        found = bench.dump()
        bench.tables.empty()
        bench.rebuild()
        assert bench.dump() == found


@pytest.mark.slow
def test_a_file_that_a_crash_left_behind_its_commit_is_folded_though_no_hub_has_it(
    database: Database, lake: Path, lines: list[bytes]
) -> None:
    """The raw log has an hour whole, the ledger only half of it, and the hub is gone."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url, batch_events=200) as bench:
        bench.run()
    with offline(database, lake) as bench:
        before, coverage = bench.dump(), bench.ledger()
        bench.tables.empty()
        bench.rebuild("casts", window=HourWindow(HOUR, HOUR))
        execute(bench, "DELETE FROM pipeline.coverage WHERE shard = 2")
        bench.run("only what is missing", BOTH, tuple(DATA_TABLES))
        assert bench.dump() == before
        assert bench.ledger() == coverage


def test_an_hour_that_the_log_has_not_is_refused_with_the_remedy(filled: Workbench) -> None:
    none = Hour(HOUR_UNIX - 86_400)
    with pytest.raises(LakeError, match=r"the raw log has nothing of 2026-10-31-00:00.*materialise hub_events"):
        filled.rebuild(window=HourWindow(none, none))


@pytest.mark.parametrize("gone", ["file", "shard", "hour", "lake"])
def test_heights_that_the_log_has_lost_are_named(filled: Workbench, lake: Path, gone: str) -> None:
    before = filled.dump()
    files = filled.replica.log.files(HOUR, 2)
    assert len(files) > 1
    path = lake / files[1].path
    if gone == "file":
        path.unlink()
    else:
        shutil.rmtree({"shard": path.parent, "hour": path.parent.parent, "lake": lake / "hub_events"}[gone])
    expected = r"the raw log lacks heights .* of shard [12] in hour 2026-11-01-00:00.*restore the lake"
    with pytest.raises(LakeError, match=expected) as caught:
        filled.rebuild(window=BOTH)
    if gone == "file":
        assert f"{files[1].from_height}-{files[1].to_height} of shard 2" in str(caught.value)
    assert filled.dump() == before


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["file", pytest.param("hour", marks=pytest.mark.slow)])
def test_what_the_log_has_lost_is_fetched_again_while_the_hub_has_it(
    filled: Workbench, database: Database, lake: Path, lines: list[bytes], gone: str
) -> None:
    before, log, coverage = filled.dump(), filled.logged(), filled.ledger()
    path = lake / filled.replica.log.files(HOUR, 2)[1].path
    path.write_bytes(b"damaged")
    with pytest.raises(LakeError, match="materialise hub_events for 2026-11-01-00:00"):
        filled.rebuild()
    if gone == "file":
        path.unlink()
    else:
        shutil.rmtree(path.parent.parent)
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        assert bench.run("again", HourWindow(HOUR, HOUR), ["hub_events"]).events == 0
    with offline(database, lake) as bench:
        assert bench.logged() == log
        assert bench.ledger() == coverage
        bench.rebuild()
        assert bench.dump() == before


@pytest.mark.slow
def test_activity_stays_right_while_another_run_folds_the_same_hour(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path, lines: list[bytes]
) -> None:
    """One run folds the hour batch by batch while others rebuild its activity again and again."""
    with serving(log_from_lines(lines)) as url:
        with fresh_database(postgres) as plain, workbench(plain, tmp_path / "plain", url) as bench:
            bench.run()
            expected = bench.dump()
        with workbench(database, tmp_path / "lake", url, batch_events=30) as bench:
            run = bench.make_run("folds", BOTH)
            failed: list[BaseException] = []
            rebuilt = 0

            def fold() -> None:
                try:
                    run.execute()
                except BaseException as error:
                    failed.append(error)

            thread = threading.Thread(target=fold)
            thread.start()
            while thread.is_alive():
                for hour in bench.replica.log.hours():
                    window = HourWindow(hour, hour)
                    tables = ("fid_activity", "links") if rebuilt % 2 else ("fid_activity",)
                    bench.rebuild(*tables, run_id=f"rebuild {rebuilt}", window=window)
                    rebuilt += 1
            thread.join()
            assert failed == []
            assert rebuilt > 1  # or nothing was rebuilt beside the fold
            assert bench.dump() == expected


@pytest.mark.slow
def test_a_rebuild_does_not_say_of_later_heights_that_they_are_in_its_tables(
    database: Database, lake: Path, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run, which leaves a table out, folds more of the hour while that table is rebuilt."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url, batch_events=60) as bench:
        first = bench.make_run("first", HourWindow(HOUR, HOUR), ["hub_events", "links"])
        first.should_stop = lambda: first.progress.events >= 100
        first.execute()
        refold = FoldSession.refold
        more: list[int] = []

        def refold_while_another_run_goes_on(session: FoldSession, *given: object) -> object:
            if not more:
                more.append(1)
                bench.run("second", HourWindow(HOUR, HOUR), ["hub_events", "links"])
            return refold(session, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(FoldSession, "refold", refold_while_another_run_goes_on)
        bench.rebuild("casts", window=HourWindow(HOUR, HOUR))
        half = bench.dump("casts")
        # Of the first shard, casts have what was there when its rebuild began; the ledger must not say more.
        assert bench.missing_hours() == [HOUR.next, HOUR]
        bench.rebuild("casts", window=HourWindow(HOUR, HOUR))
        whole = bench.dump("casts")
        assert len(whole["casts"]) > len(half["casts"])
        bench.tables.empty()
        bench.rebuild("casts", window=HourWindow(HOUR, HOUR))
        assert bench.dump("casts") == whole
