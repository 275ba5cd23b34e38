"""A node's files as of some block, and the feed from there: the tables are those that the whole feed makes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.bulk_load.progress import Stopped
from fc_pipeline.errors import LoadUnderWay
from fc_pipeline.live_set.known import known_sets
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.gaps import gaps_of, heal
from fc_pipeline_tests.support.live_sets import LiveSet
from fc_pipeline_tests.support.loaded_tables import live_rows
from fc_pipeline_tests.support.networks import log_of, whole
from fc_pipeline_tests.support.node_of_log import node_of_log
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, live, workbench

SHARE = 0.6
"""Of the blocks that the files have."""


@dataclass(frozen=True)
class Network:
    lines: list[bytes]
    node: Path
    heights: dict[int, int]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Two shards whose files stand at different heights."""
    lines = list(generate(7, fids=40, events=2_400, events_per_second=30.0, start_unix=HOUR_UNIX + 3570, signed=True))
    heights = {shard: int(first + (last - first) * (SHARE - 0.1 * shard)) for shard, first, last in whole(lines)}
    node = tmp_path_factory.mktemp("node of a log")
    node_of_log(lines, node, heights)
    return Network(lines, node, heights)


@pytest.fixture
def folded(network: Network, other_database: Database, tmp_path: Path) -> Iterator[Workbench]:
    with serving(log_of(network.lines)) as url, workbench(other_database, tmp_path / "other", url) as bench:
        bench.run()
        yield bench


@pytest.fixture
def loaded(network: Network, database: Database, lake: Path) -> Iterator[Workbench]:
    with serving(log_of(network.lines)) as url, workbench(database, lake, url) as bench:
        yield bench


def check_equal(loaded: Workbench, folded: Workbench) -> None:
    expected, found = live_rows(folded), live_rows(loaded)
    assert {name: set(rows) ^ set(found[name]) for name, rows in expected.items() if rows != found[name]} == {}
    assert LiveSet(loaded.tables.url).roots() == LiveSet(folded.tables.url).roots()


def test_the_feed_goes_on_where_the_files_end(loaded: Workbench, folded: Workbench, network: Network) -> None:
    outcome = Bootstrap(loaded.replica, network.node, "load", 1, leaves_per_part=200).execute()
    assert {one.shard: one.height for one in outcome.shards} == network.heights
    loaded.run()
    assert loaded.missing_hours() == []
    first = {shard: height + 1 for shard, height in network.heights.items()}
    assert {
        shard: low for shard, low, _ in whole([line for raws in loaded.logged().values() for line in raws])
    } == first
    check_equal(loaded, folded)
    with loaded.replica.engine.connect() as connection:
        assert [one.has_whole_past for one in known_sets(connection)] == [True, True]


def test_what_is_read_meanwhile_is_folded_afterwards(loaded: Workbench, folded: Workbench, network: Network) -> None:
    """The feed goes into the raw log alone while tables have no indexes; nothing else may write them."""
    looks = iter((False, False, False, True))
    with pytest.raises(Stopped):
        Bootstrap(loaded.replica, network.node, "load", 1, lambda: next(looks), 200).execute()
    loaded.run()
    assert loaded.rows("SELECT count(*) FROM public.reactions") == [(0,)]
    assert loaded.logged().keys() == network.heights.keys()
    with pytest.raises(LoadUnderWay, match="bootstrap"):
        loaded.rebuild("casts")
    Bootstrap(loaded.replica, network.node, "load", 1).execute()
    assert loaded.missing_hours()
    loaded.run()
    assert loaded.missing_hours() == []
    check_equal(loaded, folded)


@pytest.mark.slow
def test_what_the_feed_no_longer_has_snapshots_heal(
    database: Database, lake: Path, folded: Workbench, network: Network
) -> None:
    """The files are older than what the hub remembers."""
    kept = {shard: height + 4 for shard, height in network.heights.items()}
    faults = Faults(pruned_before_height=kept)
    with serving(log_of(network.lines), faults=faults) as url, workbench(database, lake, url) as bench:
        Bootstrap(bench.replica, network.node, "load", 1).execute()
        bench.run()
        lost = [(shard, height + 1, height + 3, "outage") for shard, height in network.heights.items()]
        assert gaps_of(bench) == [(*gap, None) for gap in lost]
        heal(bench)
        assert gaps_of(bench) == [(*gap, "snapshots") for gap in lost]
        assert bench.missing_hours() == []
        assert live(bench) == live(folded)
