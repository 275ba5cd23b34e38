"""Leaves that are no rows of a table against the raw log: what a hand did to them is found and mended like rows."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fc_pipeline.reconcile.log_comparison import compare_with_log, repair_hour
from fc_pipeline.reconcile.log_differences import HourDifferences
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.live_sets import LiveSet
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

LEAVES = OTHER_LEAVES.name
TABLE = OTHER_LEAVES.qualified
COLUMNS = ", ".join(OTHER_LEAVES.names)
FORGED = "set_byte(leaf, 20, get_byte(leaf, 20) # 1)"


@pytest.fixture(scope="module")
def bench(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """Two minutes of a log, of which an hour's end is the middle."""
    start = HOUR_UNIX + 3600 - 60
    log = generate(8, fids=60, events=3_600, events_per_second=30.0, start_unix=start)
    lake = tmp_path_factory.mktemp("leaves") / "lake"
    with (
        serving(log_from_lines(log)) as url,
        fresh_database(postgres) as database,
        workbench(database, lake, url) as opened,
    ):
        opened.run()
        yield opened


def compared(bench: Workbench) -> list[HourDifferences]:
    return list(compare_with_log(bench.replica, (LEAVES,)).tables[LEAVES].differences)


def execute(bench: Workbench, statement: str) -> int:
    with bench.replica.engine.begin() as connection:
        return connection.execute(sa.text(statement)).rowcount


def leaves(bench: Workbench) -> list[str]:
    return bench.dump(TABLE)[TABLE]


def chosen(where: str, rows: int) -> str:
    return f"(shard, fid, leaf) IN (SELECT shard, fid, leaf FROM {TABLE} WHERE {where} ORDER BY leaf LIMIT {rows})"


DAMAGES = {
    "deleted": ("missing", f"DELETE FROM {TABLE} WHERE {chosen('deleted_at IS NULL', 7)}"),
    "a tombstone deleted": ("missing", f"DELETE FROM {TABLE} WHERE {chosen('deleted_at IS NOT NULL', 3)}"),
    "brought back": ("changed", f"UPDATE {TABLE} SET deleted_at = NULL WHERE {chosen('deleted_at IS NOT NULL', 2)}"),
    "forgotten": ("changed", f"UPDATE {TABLE} SET deleted_at = now() WHERE {chosen('deleted_at IS NULL', 2)}"),
    "of another time": (
        "changed",
        f"UPDATE {TABLE} SET timestamp = timestamp + interval '1 day' WHERE {chosen('timestamp IS NOT NULL', 4)}",
    ),
    "of an older event": (
        "changed",
        f"UPDATE {TABLE} SET version = version - 1, deleted_at = NULL WHERE {chosen('deleted_at IS NOT NULL', 1)}",
    ),
    "of an event of no height": (
        "changed",
        f"UPDATE {TABLE} SET version = version + (1::bigint << 40) WHERE {chosen('deleted_at IS NULL', 1)}",
    ),
    "invented": (
        "invented",
        f"INSERT INTO {TABLE} ({COLUMNS}) SELECT {COLUMNS.replace('leaf', FORGED, 1)} FROM {TABLE} "
        f"WHERE {chosen('true', 5)}",
    ),
    "on another shard": (
        "invented",
        f"INSERT INTO {TABLE} ({COLUMNS}) SELECT {COLUMNS.replace('shard', '3 - shard', 1)} FROM {TABLE} "
        f"WHERE {chosen('get_byte(leaf, 0) = 16', 5)}",
    ),
}


def test_what_was_just_folded_is_as_the_log_says(bench: Workbench) -> None:
    found = compare_with_log(bench.replica, (LEAVES,))
    assert found.tables[LEAVES].differences == []
    assert found.tables[LEAVES].rows == len(leaves(bench)) > 100
    assert len(found.hours) == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_by_hand_is_found_by_its_hour_and_mended_and_the_root_is_right_again(
    bench: Workbench, damage: str
) -> None:
    kind, statement = DAMAGES[damage]
    live_set = LiveSet(bench.tables.url)
    live_set.refresh()
    before, sound = leaves(bench), live_set.roots()
    rows = execute(bench, statement)
    assert rows
    live_set.refresh(all_fids=True)
    found = compared(bench)
    assert sum(getattr(one, kind) for one in found) == sum(one.rows for one in found) == rows
    assert all(one.hour is not None and one.example for one in found)
    for one in found:
        assert one.hour is not None
        assert repair_hour(bench.replica, one.hour, (LEAVES,)) == {LEAVES: one.rows}
    assert (compared(bench), leaves(bench)) == ([], before)
    live_set.refresh()  # only of whom the repair noted
    assert live_set.roots() == sound


def test_whatever_table_of_an_hour_is_made_again_its_leaves_are(bench: Workbench) -> None:
    before = leaves(bench)
    assert execute(bench, DAMAGES["deleted"][1])
    assert execute(bench, DAMAGES["invented"][1])
    bench.rebuild("user_data")
    assert leaves(bench) == before
