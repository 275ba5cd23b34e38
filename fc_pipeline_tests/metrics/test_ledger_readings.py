"""Metrics of the ledger, against what the tables say."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.metrics.families import Sample
from fc_pipeline.metrics.lake_readings import read_lake
from fc_pipeline.metrics.ledger_readings import LedgerReadings
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.status.status import read_status
from fc_pipeline.store.ledger import last_covered
from fc_pipeline_tests.support.networks import generated_network, log_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

Values = dict[tuple[str, ...], float]


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Iterator[Workbench]:
    with serving(log_of(generated_network(5))) as url, workbench(database, tmp_path / "lake", url) as opened:
        yield opened


def values(samples: list[Sample]) -> Values:
    found = {(sample.family.name, *sample.labels): sample.value for sample in samples}
    assert len(found) == len(samples), "a metric twice"
    return found


def of(found: Values, name: str) -> Values:
    """The values of one metric, by its labels."""
    return {key[1:]: value for key, value in found.items() if key[0] == name}


def test_nothing_is_folded_yet(bench: Workbench) -> None:
    found = values(LedgerReadings(lambda: bench.replica.settings).read())
    assert of(found, "fc_shard_cursor_height") == {}
    assert found["fc_events_total", "written"] == 0


def test_they_are_what_the_tables_say_and_go_on_with_them(bench: Workbench) -> None:
    readings = LedgerReadings(lambda: bench.replica.settings)
    readings.read()
    bench.run()
    found = values(readings.read())
    state = read_status(bench.replica)
    for shard in state.shards:
        assert found["fc_shard_cursor_height", str(shard.shard)] == shard.cursor_height
        assert found["fc_shard_hole_blocks", str(shard.shard)] == 0
        assert found["fc_shard_lag_seconds", str(shard.shard)] > 0
    (events,) = bench.rows("SELECT sum(events) AS events FROM pipeline.coverage")
    assert sum(of(found, "fc_events_total").values()) == events.events
    inserted = {
        row.table_name: row.n
        for row in bench.rows("SELECT table_name, sum(rows_inserted) AS n FROM pipeline.hour_rows GROUP BY 1")
    }
    assert inserted["casts"] > 0
    assert {t: n for (t, c), n in of(found, "fc_rows_total").items() if c == "inserted"} == inserted
    open_records = bench.rows(
        "SELECT reason, count(*) AS n FROM pipeline.quarantine WHERE resolved_at IS NULL GROUP BY 1"
    )
    assert of(found, "fc_quarantine_open") == {(row.reason,): row.n for row in open_records}
    assert found["fc_micro_batches_total",] > 0
    assert found["fc_database_bytes",] > 1_000_000


def test_a_hole_and_a_gap_are_seen(bench: Workbench) -> None:
    bench.run()
    with bench.replica.engine.begin() as connection:
        last = last_covered(connection, 1)
        assert last is not None
        gone = connection.execute(
            sa.text(
                "DELETE FROM pipeline.coverage WHERE shard = 1 AND from_height = (SELECT min(from_height) FROM "
                "pipeline.coverage WHERE shard = 1) AND to_height < :last RETURNING to_height - from_height + 1"
            ),
            {"last": last[0]},
        ).scalar_one()
        connection.execute(sa.text("INSERT INTO pipeline.gaps VALUES (2, 5, 9, 'outage', now())"))
    found = values(LedgerReadings(lambda: bench.replica.settings).read())
    assert found["fc_shard_hole_blocks", "1"] == gone > 0
    assert found["fc_open_gap_blocks", "2", "outage"] == 5


def test_the_size_of_the_raw_log_is_that_of_its_files(bench: Workbench) -> None:
    bench.run()
    found = values(read_lake(bench.replica.settings))
    files = bench.replica.log.all_files()
    assert found == {
        ("fc_lake_files",): len(files),
        ("fc_lake_bytes",): sum(file.size_bytes for file in files),
    }


def test_how_far_snapshots_have_come(bench: Workbench) -> None:
    bench.run()
    with bench.replica.engine.begin() as connection:
        connection.execute(sa.text("ANALYZE user_profiles"))
        profiles = connection.execute(sa.text("SELECT count(*) FROM user_profiles")).scalar_one()
        connection.execute(
            sa.text(
                "INSERT INTO pipeline.snapshot_rounds (bucket, scope, started_at, run_id, fids) "
                "SELECT n, 'all', now() - interval '10 s', 'run', 0 FROM generate_series(0, 255) AS n"
            )
        )
        connection.execute(sa.text("UPDATE pipeline.snapshot_rounds SET fids = 2 WHERE bucket = 3"))
    found = values(LedgerReadings(lambda: bench.replica.settings).read())
    assert (found["fc_backfill_fids_done",], found["fc_backfill_fids_expected",]) == (2, profiles)
    assert found["fc_backfill_eta_seconds",] == pytest.approx((profiles - 2) * 5, rel=0.2)


def test_what_there_is_a_line_of_per_user_is_counted_once_a_minute(bench: Workbench) -> None:
    now = 0.0
    readings = LedgerReadings(lambda: bench.replica.settings, lambda: now)

    def waiting() -> float | None:
        return values(readings.read()).get(("fc_snapshot_fids", "waiting"))

    assert waiting() is None
    with bench.replica.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO pipeline.snapshots (fid, shard, bucket, version, until_id, file, records, requests, "
                "fetched_at, run_id) VALUES (3, 1, 3, 1, 2, 'file', 1, 1, now(), 'run')"
            )
        )
    now = 59.0
    assert waiting() is None
    now = 60.0
    assert waiting() == 1


@pytest.mark.slow
def test_no_table_of_messages_is_read(bench: Workbench) -> None:
    bench.run()
    readings = LedgerReadings(lambda: bench.replica.settings)
    with bench.replica.engine.connect() as connection:
        before = _scans(connection)
        readings.read()
        assert _scans(connection) == before


def _scans(connection: sa.Connection) -> int:
    """How often what is replicated was read, by any way, once all sessions have said so: they do within a second."""
    counted: list[int] = []
    while len(counted) < 2 or counted[-1] != counted[-2]:
        time.sleep(1.5)
        with connection.begin():
            found = connection.execute(
                sa.text(
                    "SELECT sum(seq_scan + coalesce(idx_scan, 0)) FROM pg_stat_user_tables WHERE schemaname = 'public'"
                )
            )
            counted.append(found.scalar_one())
    return counted[-1]
