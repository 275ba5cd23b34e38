"""Whatever was folded, in any order, with poison, for targets only, beside snapshots: the tables are the log's."""

from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import Hour
from fc_pipeline.reconcile.log_comparison import compare_with_log
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import ledger
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.comparing import complete
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.poison_kinds import KINDS
from fc_pipeline_tests.support.poison_stream import spoil
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

HOURS = (Hour(HOUR_UNIX), Hour(HOUR_UNIX).next)
HEAVY = frozenset(name for name in KINDS if "MB" in name or "100,000" in name)


def lines(seed: int, events: int = 1_800) -> list[bytes]:
    start = HOURS[0].end_unix - 30
    return list(generate(seed, fids=40, events=events, events_per_second=30.0, start_unix=start, unknown_types=True))


def differences(bench: Workbench) -> dict[str, object]:
    found = compare_with_log(bench.replica, tuple(DATA_TABLES))
    assert found.events
    return {name: table.differences for name, table in found.tables.items() if table.wrong}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_hours_in_any_order_and_once_more(database: Database, tmp_path: Path, seed: int):
    rng = Random(seed)
    with (
        serving(log_from_lines(lines(seed))) as url,
        workbench(database, tmp_path / "lake", url) as bench,
    ):
        order = [*HOURS]
        rng.shuffle(order)
        bench.ask(_known)
        for hour in order:
            bench.run(f"of {hour.key}", HourWindow(hour, hour))
            assert differences(bench) == {}
        bench.rebuild(*rng.sample(sorted(DATA_TABLES), 4))
        assert differences(bench) == {}


async def _known(state: object) -> object:
    """A survey notes where the shards begin."""
    return state


@pytest.mark.slow
def test_a_stream_with_poison(database: Database, tmp_path: Path):
    kinds = [kind for kind in KINDS if kind not in HEAVY]
    log = spoil(log_from_lines(lines(3)), 1, 0.05, kinds).log
    with serving(log) as url, workbench(database, tmp_path / "lake", url) as bench:
        bench.run()
        assert bench.quarantine()
        assert differences(bench) == {}
        bench.rebuild()
        assert differences(bench) == {}


@pytest.mark.slow
def test_snapshots_before_and_behind_the_feed(database: Database, tmp_path: Path):
    with serving(log_from_lines(lines(4))) as url, workbench(database, tmp_path / "lake", url) as bench:
        Backfill(bench.replica, "before", BackfillScope()).execute()
        bench.run()
        assert differences(bench) == {}
        # Rows that were lost are brought back by snapshots, which is as right as by the log.
        with bench.replica.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM casts WHERE fid % 2 = 0"))
        assert set(differences(bench)) == {"casts", "embeds", "cast_mentions", "cast_threads"}
        Backfill(bench.replica, "behind", BackfillScope()).execute()
        left = compare_with_log(bench.replica, tuple(DATA_TABLES))
        live = {name: [one for one in table.differences if one.changed] for name, table in left.tables.items()}
        assert not any(live.values()), live


@pytest.mark.slow
def test_targets_only(database: Database, tmp_path: Path, redis_url: str):
    source = lines(5, 2_400)
    with serving(log_from_lines(source)) as url:
        settings = {"targets": "set", "redis_url": redis_url, "root_fids": frozenset({1, 2, 3})}
        with workbench(database, tmp_path / "lake", url, **settings) as bench:
            bench.run()
            assert differences(bench) == {}
            complete(bench)
            with bench.replica.engine.connect() as connection:
                assert ledger.origins(connection)
                synced = connection.exec_driver_sql("SELECT count(*) FROM pipeline.targets WHERE synced_at IS NOT NULL")
                assert synced.scalar_one() > 3
            assert differences(bench) == {}
            with bench.replica.engine.begin() as connection:
                gone = connection.exec_driver_sql(
                    "DELETE FROM links WHERE fid IN (SELECT fid FROM pipeline.targets) AND deleted_at IS NULL"
                ).rowcount
            assert gone
            found = compare_with_log(bench.replica, ["links"])
            assert sum(one.missing for one in found.tables["links"].differences) == gone
