"""Replaying the quarantine: what a release that knew less has quarantined is folded as if it had never been."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import ConfigError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.fold.quarantine import NUL_REASON
from fc_pipeline.reconcile.log_comparison import compare_with_log
from fc_pipeline.repair.quarantine import Replay, find_line, quarantine_counts, quarantine_lines
from fc_pipeline.repair.replay import CurrentSnapshot, QuarantineLine, replay_snapshots
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import ledger
from fc_pipeline.store.hour_totals import totals_of_hour
from fc_pipeline.tables.registry import DATA_TABLES, DERIVED_TABLES, MESSAGE_TABLES
from fc_pipeline_tests.support.forgetting import forget_messages, forget_values
from fc_pipeline_tests.support.poison_stream import good_log, spoil
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

Forget = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def log() -> EventLog:
    return good_log(31, 4_000)


GOING = {one.name for one in DERIVED_TABLES if one.kept_by}


def totals(bench: Workbench) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """By hour its events by outcome (with rows, without, filtered, quarantined); and the rows that came, by table."""
    outcomes: dict[str, tuple[int, ...]] = {}
    inserted = dict.fromkeys(DATA_TABLES, 0)
    with bench.replica.engine.connect() as connection:
        for hour in sorted(ledger.covered_partitions(connection)):
            found = totals_of_hour(connection, hour)
            assert found.outcome is not None
            assert found.rows is not None
            assert found.events == found.outcome.accounted
            one = found.outcome
            outcomes[hour] = (one.with_rows, one.without_rows, one.filtered, one.quarantined)
            for name, rows in found.rows.items():
                # A derived row goes with its source, and leaves nothing.
                inserted[name] += rows.inserted - (rows.deleted if name in GOING else 0)
    return outcomes, inserted


def counted(bench: Workbench) -> dict[str, int]:
    return {name: bench.rows(f"SELECT count(*) FROM {name}")[0][0] for name in DATA_TABLES}


@pytest.mark.slow
@pytest.mark.parametrize("forget", [forget_values, pytest.param(forget_messages, marks=pytest.mark.slow)])
def test_what_is_understood_by_now_is_folded_as_if_it_had_been_at_first(
    database: Database, other_database: Database, tmp_path: Path, log: EventLog, forget: Forget
) -> None:
    names = ("hash no hex", "type unknown", "id 1", "FID 2^64", "text not UTF-8", "null")
    spoilt = spoil(log, 5, names=names)
    with serving(spoilt.log) as url:
        with workbench(other_database, tmp_path / "other", url) as bench:
            bench.run()
            expected, as_at_first = bench.dump(), totals(bench)
            kept = bench.quarantine()
        with workbench(database, tmp_path / "lake", url, batch_events=500) as bench:
            with pytest.MonkeyPatch.context() as patch:
                forget(patch)
                for hour in bench.missing_hours():
                    bench.run(hour.key, HourWindow(hour, hour))
            assert bench.dump() != expected
            quarantined = bench.quarantine()
            assert totals(bench) != as_at_first
            some = quarantine_lines(bench.replica, reasons=["unknown_type"])[::2]
            part = Replay(bench.replica, "of some", names=[line.name for line in some]).execute()
            assert totals(bench)[1] == counted(bench)
            outcome = Replay(bench.replica, "replay").execute()
            assert totals(bench)[0] == as_at_first[0]
            assert totals(bench)[1] == as_at_first[1] == counted(bench)
    assert bench.dump() == expected
    unresolved = bench.rows("SELECT shard, event_id FROM pipeline.quarantine WHERE resolved_at IS NULL")
    open_at_first = [record[:2] for record in kept if record[2] != NUL_REASON]  # a note is resolved when it is made
    assert sorted(map(tuple, unresolved)) == sorted(open_at_first)
    assert len(quarantined) > len(kept) + 20
    assert part.resolved + outcome.resolved == len(quarantined) - len(kept)
    assert len(outcome.left) == len(open_at_first)
    assert all(outcome.left.values())
    again = Replay(bench.replica, "again").execute()
    assert (again.resolved, sum(w.rows for w in again.written.values())) == (0, 0)


@pytest.mark.slow
def test_records_of_snapshots_are_folded_too(
    database: Database, other_database: Database, tmp_path: Path, log: EventLog
) -> None:
    def backfill(bench: Workbench) -> None:
        Backfill(bench.replica, "backfill", BackfillScope(tuple(range(256)))).execute()

    with serving(log) as url:
        with workbench(other_database, tmp_path / "other", url) as bench:
            backfill(bench)
            expected = bench.dump()
        with workbench(database, tmp_path / "lake", url) as bench:
            with pytest.MonkeyPatch.context() as patch:
                forget_values(patch)
                backfill(bench)
            assert bench.dump() != expected
            sources = {row.source for row in bench.rows("SELECT source FROM pipeline.quarantine")}
            assert {"casts", "reactions", "user_data", "verifications", "username_proofs", "on_chain_events"} <= sources
            Replay(bench.replica, "replay", reasons=["unknown_type"]).execute()
            assert _without_removes(bench.dump()) == _without_removes(expected)
            assert "unknown_type" not in quarantine_counts(bench.replica)


def _without_removes(dump: dict[str, list[str]]) -> dict[str, list[str]]:
    """A snapshot's CAST_REMOVE says nothing of when: its tombstone has the time of the request."""
    return {**dump, "casts": [row for row in dump["casts"] if ",removed," not in row]}


def test_what_the_newest_snapshot_no_longer_lists_is_resolved_without_a_row(
    database: Database, tmp_path: Path, log: EventLog
) -> None:
    with serving(log) as url, workbench(database, tmp_path / "lake", url) as bench:
        with pytest.MonkeyPatch.context() as patch:
            forget_values(patch)
            Backfill(bench.replica, "backfill", BackfillScope(tuple(range(256)))).execute()
        with bench.replica.engine.begin() as connection:
            connection.execute(sa.text("UPDATE pipeline.quarantine SET last_seen = last_seen - interval '1 day'"))
        before = bench.dump()
        outcome = Replay(bench.replica, "replay", reasons=["unknown_type"]).execute()
        assert outcome.resolved > 100
        assert bench.dump() == before


def test_chosen_records_only_and_the_rest_is_left_alone(database: Database, tmp_path: Path, log: EventLog) -> None:
    with serving(log) as url, workbench(database, tmp_path / "lake", url) as bench:
        with pytest.MonkeyPatch.context() as patch:
            forget_values(patch)
            bench.run()
        lines = quarantine_lines(bench.replica, reasons=["unknown_type"])
        chosen = [lines[3].name, lines[7].name]
        assert Replay(bench.replica, "replay", names=chosen).execute().resolved == 2
        resolved = {line.name for line in quarantine_lines(bench.replica, with_resolved=True) if line.resolved_at}
        assert resolved == set(chosen)
        assert find_line(bench.replica, chosen[0]).resolved_at is not None
        assert Replay(bench.replica, "replay", reasons=["invalid"]).execute().resolved == 0
        for wrong in ("x", "1-2", "1-2-abcd", "1"):
            with pytest.raises(ConfigError, match=r"record|name"):
                find_line(bench.replica, wrong)
        with pytest.raises(ConfigError, match="no reason is called 'bad'"):
            quarantine_lines(bench.replica, reasons=["bad"])


@pytest.mark.slow
def test_a_record_that_is_quarantined_again_is_unresolved_again(
    database: Database, tmp_path: Path, log: EventLog
) -> None:
    with serving(log) as url, workbench(database, tmp_path / "lake", url) as bench:
        with pytest.MonkeyPatch.context() as patch:
            forget_values(patch)
            bench.run()
        before = quarantine_counts(bench.replica)
        Replay(bench.replica, "replay").execute()
        assert "unknown_type" not in quarantine_counts(bench.replica)
        once, rows = totals(bench), bench.dump()
        with pytest.MonkeyPatch.context() as patch:
            forget_values(patch)
            bench.rebuild()
        assert quarantine_counts(bench.replica) == before
        # What a newer release has written stands; and it is counted once.
        assert bench.dump(*MESSAGE_TABLES) == {name: rows[name] for name in MESSAGE_TABLES}
        Replay(bench.replica, "again").execute()
        assert bench.dump() == rows
        assert totals(bench)[0] == once[0]
        again = totals(bench)[1]
        assert {name: again[name] for name in MESSAGE_TABLES} == {name: once[1][name] for name in MESSAGE_TABLES}


@pytest.mark.slow
def test_what_is_in_quarantine_stays_out_of_tables_made_anew_until_it_is_replayed(
    database: Database, tmp_path: Path, log: EventLog
) -> None:
    with serving(log) as url, workbench(database, tmp_path / "lake", url) as bench:
        with pytest.MonkeyPatch.context() as patch:
            forget_values(patch)
            bench.run()
        before = bench.dump()
        with bench.replica.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM reactions"))
        bench.rebuild()
        assert bench.dump() == before
        chosen = quarantine_lines(bench.replica, reasons=["unknown_type"])[::2]
        Replay(bench.replica, "of some", names=[line.name for line in chosen]).execute()
        after = bench.dump()
        bench.rebuild()
        assert bench.dump() == after != before
        assert not [
            name for name, one in compare_with_log(bench.replica, tuple(DATA_TABLES)).tables.items() if one.wrong
        ]


def test_a_gasless_key_that_is_understood_by_now_waits_for_the_next_snapshot() -> None:
    """It alone sees all keys of the FID; a replay would not know which of them are gone."""
    key = {"source": "SIGNER_SOURCE_OFFCHAIN", "key": "0x" + "ab" * 32, "keyType": 1, "fid": 7, "ttl": 60}
    times = {"addedAt": 1_790_000_000, "lastUsedAt": 1_790_000_000, "expiresAt": 1_790_000_060}
    raw = json.dumps({**key, **times, "scopes": ["MESSAGE_TYPE_CAST_ADD"]}).encode()
    now = datetime.now(UTC)
    line = QuarantineLine(1, 5, b"sha", "invalid", "no scopes", raw, now, now, None, "gasless_keys", 7)
    found = replay_snapshots([line], {7: CurrentSnapshot(5, now, now)}, shard=1)
    assert (found.batch.rows, list(found.resolved)) == ({}, [])
    assert found.left == {line.name: "it is understood now: the next snapshot of its FID brings it"}
