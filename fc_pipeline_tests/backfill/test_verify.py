"""Verifying: what differs is told and nothing is written, also when the hub has moved on."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from fc_pipeline.backfill.verify import verify
from fc_pipeline.cli.main import app
from fc_pipeline.cli.verify import described, differing_columns
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.reconcile.outcome import Difference
from fc_pipeline.sample_hub.log import EventLog, block_of, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.events import block, cast_add, merge
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench


@pytest.fixture
def log(lines: list[bytes]) -> EventLog:
    return log_from_lines(lines)


@pytest.fixture
def bench(database: Database, lake: Path, log: EventLog) -> Iterator[Workbench]:
    """A replica of all that a hub had a moment ago."""
    with serving(log) as url, workbench(database, lake, url) as opened:
        opened.run()
        yield opened


def execute(bench: Workbench, statement: str) -> list[Any]:
    with bench.replica.engine.begin() as connection:
        return list(connection.execute(sa.text(statement)))


def move_on(log: EventLog, fid: int) -> None:
    """The hub merges one more message, of this FID."""
    shard = shard_of(fid, len(log.shards))
    height = log.shards[shard].head_height + 1
    newest = log.shards[shard].newest_unix
    assert newest is not None
    raws = block(height, [merge(cast_add(fid, "after the last fold"))], shard, newest + 1)
    log.append(shard, block_of(height, [first_event_id(height) + n for n in range(len(raws))], raws))


@pytest.mark.slow
def test_a_replica_that_equals_the_hub_has_no_differences_and_stays_as_it_is(bench: Workbench) -> None:
    before = bench.dump()
    found = verify(bench.replica)
    assert (found.drift, found.history, found.unread) == (0, 0, {})
    assert found.fids_done == found.fids > 20
    assert found.compared.messages > 1_000
    assert bench.dump() == before
    assert bench.rows("SELECT * FROM pipeline.snapshots") == []
    drawn = verify(bench.replica, sample=5, seed=1)
    assert (drawn.fids, drawn.drift) == (5, 0)


def test_what_is_wrong_is_told_for_users_that_were_registered_since_the_beginning(bench: Workbench) -> None:
    first = "(SELECT hash FROM casts WHERE deleted_at IS NULL ORDER BY hash LIMIT 1)"
    update = f"UPDATE casts SET text = 'forged' WHERE hash = {first} AND deleted_at IS NULL RETURNING fid, hash"
    fid, cast_hash = execute(bench, update)[0]
    found = verify(bench.replica, fids=[fid])
    assert dict(found.compared.drift) == {"casts": 1}
    (one,) = found.compared.examples
    assert (one.table, one.fid, one.change, one.is_drift) == ("casts", fid, "different", True)
    assert json.loads(one.key)["hash"] == "\\x" + bytes(cast_hash).hex()
    assert one.table_row is not None
    assert one.hub_row is not None
    assert list(differing_columns(json.loads(one.table_row), json.loads(one.hub_row))) == ["text"]
    assert bench.rows("SELECT count(*) FROM casts WHERE text = 'forged'")[0][0] == 1
    assert bench.rows("SELECT count(*) FROM pipeline.drift")[0][0] == 0


def test_a_hub_that_has_moved_on_spoils_the_comparison_only_of_users_who_did_something(
    bench: Workbench, log: EventLog
) -> None:
    wrong = execute(
        bench,
        "DELETE FROM casts WHERE hash::text IN (SELECT min(hash::text) FROM casts WHERE deleted_at IS NULL "
        "GROUP BY fid ORDER BY fid LIMIT 2) RETURNING fid",
    )
    quiet, busy = (row.fid for row in wrong)
    move_on(log, busy)
    found = verify(bench.replica, fids=[quiet, busy])
    assert dict(found.compared.drift) == {"casts": 1}
    assert {(one.fid, one.is_drift) for one in found.compared.examples} == {(quiet, True), (busy, False)}
    # The deleted one, and the one that the feed will bring.
    assert dict(found.compared.history) == {"casts": 2}
    assert found.compared.uncovered_fids == 1
    # Nobody needs to read the past of the one whose newest events are still to be folded.
    assert (found.awaiting_fids, found.uncovered_fids) == ([busy], [])


def test_what_is_of_no_user_is_not_told_to_be_read(bench: Workbench) -> None:
    """FID 0, whose contract events are compared with everybody's, cannot be named to a backfill."""
    found = verify(bench.replica)
    assert 0 in found.compared.comparability
    assert found.uncovered_fids == []


def use_replica(bench: Workbench, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands work on the replica of the test."""
    settings = bench.replica.settings
    for name in [name for name in os.environ if name.startswith("FC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FC_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    monkeypatch.setenv("FC_HUB_URLS", ",".join(settings.hub_urls))


@pytest.mark.slow
def test_the_command_exits_with_1_on_drift_and_says_what_differs(
    bench: Workbench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_replica(bench, database, monkeypatch)
    told = CliRunner().invoke(app, ["verify", "--sample", "1000"])
    assert (told.exit_code, "0 differences" in told.stdout) == (0, True)
    one = "(SELECT min(ctid) FROM user_data WHERE deleted_at IS NULL)"
    fid = execute(bench, f"UPDATE user_data SET value = 'forged' WHERE ctid = {one} RETURNING fid")[0].fid
    told = CliRunner().invoke(app, ["verify", "--fids", f"{fid}"])
    assert told.exit_code == 1
    assert "drift, rows that are wrong although their history is covered: user_data 1" in told.stdout
    assert f"different: user_data of FID {fid}" in told.stdout
    assert 'value is "forged", on the hub' in told.stdout
    assert "to put it right: " in told.stdout
    assert f"fc-pipeline backfill --fids {fid}\n" in told.stdout
    told = CliRunner().invoke(app, ["verify", "--fids", f"{fid}", "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["drift"] == {"user_data": 1}
    # Its registration is lost, too: by the hub's word it came into being after the replica began.
    late = (
        "SELECT fid FROM on_chain_events WHERE type = 'id_register' AND body->>'eventType' = 'Register' "
        "AND block_timestamp > (SELECT max(origin_at) FROM pipeline.shards) "
        "AND fid IN (SELECT fid FROM casts WHERE deleted_at IS NULL) ORDER BY fid LIMIT 1"
    )
    fid = execute(bench, late)[0].fid
    for table in ("on_chain_events", "casts"):
        assert execute(bench, f"DELETE FROM {table} WHERE fid = {fid} RETURNING fid")
    told = CliRunner().invoke(app, ["verify", "--fids", f"{fid}", "--json"])
    assert (told.exit_code, json.loads(told.stdout)["drift"].keys() >= {"on_chain_events", "casts"}) == (1, True)


def test_before_anything_is_folded_no_fid_is_compared_and_sync_is_the_remedy(
    database: Database, lake: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(log) as url, workbench(database, lake, url) as bench:
        use_replica(bench, database, monkeypatch)
        some = (3, 12, 999_999)
        for arguments in (["--sample", "5"], ["--fids", ",".join(map(str, some))]):
            told = CliRunner().invoke(app, ["verify", *arguments])
            assert told.exit_code == 1
            assert "no FID could be compared" in told.stdout
            assert "0 differences" not in told.stdout
            assert "fc-pipeline sync" in told.stdout
            assert "fc-pipeline backfill" not in told.stdout
        not_compared = next(line for line in told.stdout.splitlines() if line.startswith("not compared"))
        assert "999999" not in not_compared  # that the hub does not know it is said apart


@pytest.mark.slow
def test_a_history_that_was_never_read_is_healed_by_backfill(
    bench: Workbench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what hub and tables say, these users were registered before the replica began."""
    use_replica(bench, database, monkeypatch)
    execute(bench, "UPDATE pipeline.shards SET origin_at = origin_at + interval '1 day' RETURNING 1")
    execute(bench, "DELETE FROM on_chain_events RETURNING 1")
    execute(bench, "UPDATE pipeline.shards SET origin_height = origin_height + 20 RETURNING 1")
    found = verify(bench.replica, sample=1000)
    assert found.uncovered_fids
    assert not set(found.uncovered_fids) & set(found.awaiting_fids)
    fid = found.uncovered_fids[-1]
    told = CliRunner().invoke(app, ["verify", "--fids", f"{fid}"])
    assert told.exit_code == 1
    assert f"not compared, or not in every table: FID {fid}, for their history was never read" in told.stdout
    assert f"fc-pipeline backfill --fids {fid}\n" in told.stdout
    assert "fc-pipeline sync" not in told.stdout


def test_a_user_whom_the_hub_does_not_know_is_named_and_is_no_success(
    bench: Workbench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_replica(bench, database, monkeypatch)
    told = CliRunner().invoke(app, ["verify", "--fids", "999999"])
    assert told.exit_code == 1
    assert "the hub has no record of FID 999999" in told.stdout
    assert "0 differences" not in told.stdout
    assert "not compared" not in told.stdout
    told = CliRunner().invoke(app, ["verify", "--fids", "999999", "--json"])
    assert json.loads(told.stdout)["unjudged_fids"] == 0
    assert (told.exit_code, json.loads(told.stdout)["unknown_fids"]) == (1, [999999])


@pytest.mark.parametrize(
    ("change", "is_drift", "said"),
    [
        ("phantom", True, "phantom: casts of FID 3"),
        ("phantom", False, "only here (history not covered): casts of FID 3"),
        ("missing", False, "not here yet (history not covered): casts of FID 3"),
        ("different", False, "another version here (history not covered): casts of FID 3"),
    ],
)
def test_a_difference_is_named_for_what_it_is(change: str, is_drift: bool, said: str) -> None:
    ours = None if change == "missing" else '{"text": "a"}'
    theirs = None if change == "phantom" else '{"text": "b"}'
    assert described(Difference("casts", 3, change, is_drift, "{}", ours, theirs)).startswith(said)
