"""Tests of the made-up table `notes`, for the copy of the package that has it: from the hub to rows, by both ways."""

import asyncio
import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.definitions import build_defs
from fc_pipeline.reconcile.log_comparison import compare_with_log, repair_hour
from fc_pipeline.status.status import read_status
from fc_pipeline.store import later_indexes
from fc_pipeline.store.schema import NEWEST_REVISION, ensure_schema
from fc_pipeline.tables import notes
from fc_pipeline.tables.reference import tables_markdown
from fc_pipeline_tests.support.acted_hub import ActedHub, Answer, json_answer
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Json,
    blocks_of,
    chain_event,
    merge,
    merge_chain,
    message,
    prune,
)
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

AUTHOR = 3
COLUMNS = "fid, title, text, subject_fid"


def note(title: str, text: str, timestamp: int = NOW, *, subject_fid: int = 5, fid: int = AUTHOR) -> Json:
    return message("NOTE_ADD", fid, timestamp, {"noteBody": {"title": title, "text": text, "subjectFid": subject_fid}})


def note_remove(title: str, timestamp: int = NOW, fid: int = AUTHOR) -> Json:
    return message("NOTE_REMOVE", fid, timestamp, {"noteBody": {"title": title, "text": "", "subjectFid": 1}})


REGISTERED = {"to": f"0x{AUTHOR:040x}", "eventType": "Register", "from": "0x", "recoveryAddress": "0x"}
REGISTER = {**chain_event("id_register", AUTHOR, REGISTERED), "blockTimestamp": HOUR_UNIX}
LIVE = [note("a", "first"), note("b", "with\x00NUL", subject_fid=7), note("d", "newer", NOW + 5)]
EVENTS = (
    [merge_chain(REGISTER), merge(LIVE[0]), merge(LIVE[1]), merge(note("c", "third")), merge(note("d", "older"))],
    [
        merge(LIVE[2], note("d", "older")),
        merge(note_remove("c", NOW + 5), note("c", "third")),
        merge(note("e", "pruned")),
        prune(note("e", "pruned")),
        merge({**note("f", "no body"), "data": {"type": "MESSAGE_TYPE_NOTE_ADD", "fid": AUTHOR, "timestamp": NOW}}),
    ],
)
LIVE_ROWS = [(3, "a", "first", 5), (3, "b", "withNUL", 7), (3, "d", "newer", 5)]


def by_fid(path: str, params: dict[str, str]) -> Answer | None:
    """What the hub lists of each FID: its registration and its notes."""
    if path in ("/v1/info", "/v1/events", "/v1/eventById"):
        return None
    found: dict[str, list[Any]] = {"messages": [], "events": [], "proofs": [], "signers": []}
    if params.get("fid") == str(AUTHOR):
        if path == "/v1/notesByFid":
            found["messages"] = LIVE
        elif path == "/v1/onChainEventsByFid" and params["event_type"] == "EVENT_TYPE_ID_REGISTER":
            found["events"] = [REGISTER]
    if path == "/v1/storageLimitsByFid":
        return json_answer({"limits": [{"name": "NOTES", "limit": 10, "used": 3}], "units": 1})
    return json_answer({**found, "nextPageToken": ""})


@contextmanager
def served() -> Generator[ActedHub]:
    """The hub, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    events = [json.loads(raw) for block in blocks_of(*EVENTS, first_height=1).values() for raw in block]
    hub = ActedHub({1: events})
    hub.respond = by_fid
    try:
        asyncio.run_coroutine_threadsafe(hub.__aenter__(), loop).result()
        yield hub
        asyncio.run_coroutine_threadsafe(hub.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Iterator[Workbench]:
    with served() as hub, workbench(database, tmp_path / "lake", hub.url) as opened:
        yield opened


def reconcile(bench: Workbench) -> dict[str, int]:
    """Snapshot the author; the drift per table."""
    return dict(Backfill(bench.replica, "snapshots", BackfillScope.of_fids([AUTHOR])).execute().reconciled.drift)


def test_the_migration_makes_the_table(empty_database: Database) -> None:
    ensure_schema(empty_database.engine)
    with empty_database.engine.connect() as connection:
        found = connection.execute(sa.text("SELECT version_num FROM pipeline.alembic_version")).scalar_one()
        assert found == NEWEST_REVISION == "THIS"
        inspector = sa.inspect(connection)
        stamped = {*notes.NOTES.names, "updated_at", "change_id"}
        assert {column["name"] for column in inspector.get_columns("notes")} == stamped
        indexes = {index["name"] for index in inspector.get_indexes("notes")}
    assert indexes == {"notes_subject_fid_idx", "notes_version_idx"}
    later_indexes.make(empty_database.engine)
    assert {index["name"] for index in sa.inspect(empty_database.engine).get_indexes("notes")} - indexes == {
        "notes_change_id_idx"
    }


def test_events_become_rows_and_removes_take_them_away(bench: Workbench) -> None:
    bench.run()
    assert bench.tables.live("notes", COLUMNS) == LIVE_ROWS
    gone = bench.rows("SELECT title, deleted_reason FROM notes WHERE deleted_at IS NOT NULL ORDER BY 1")
    assert [tuple(row) for row in gone] == [("c", "removed"), ("e", "pruned")]
    assert sorted(reason for _, _, reason in bench.quarantine()) == ["invalid", "nul_removed"]


def test_a_table_that_is_rebuilt_from_the_raw_log_is_the_same(bench: Workbench) -> None:
    bench.run()
    before = bench.tables.dump(("notes",))
    with bench.replica.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM notes"))
    bench.rebuild("notes")
    assert bench.tables.dump(("notes",)) == before


def test_a_row_that_was_changed_is_held_against_the_raw_log_and_mended(bench: Workbench) -> None:
    bench.run()
    assert not compare_with_log(bench.replica, ("notes",)).tables["notes"].wrong
    with bench.replica.engine.begin() as connection:
        connection.execute(sa.text("UPDATE notes SET text = 'another' WHERE title = 'a'"))
        connection.execute(sa.text("INSERT INTO notes (fid, title, version) VALUES (3, 'invented', 1 << 14 | 1)"))
    found = compare_with_log(bench.replica, ("notes",))
    assert found.tables["notes"].wrong
    for hour in found.hours:
        repair_hour(bench.replica, hour, ("notes",))
    assert bench.tables.live("notes", COLUMNS) == LIVE_ROWS


def test_a_snapshot_fills_the_table_without_the_feed(bench: Workbench) -> None:
    reconcile(bench)
    assert bench.tables.live("notes", COLUMNS) == LIVE_ROWS


def test_a_snapshot_finds_and_corrects_drift(bench: Workbench) -> None:
    bench.run()
    assert reconcile(bench) == {}
    with bench.replica.engine.begin() as connection:
        connection.execute(sa.text("UPDATE notes SET text = 'another' WHERE title = 'a'"))
        connection.execute(sa.text("DELETE FROM notes WHERE title = 'b'"))
        connection.execute(
            sa.text("UPDATE notes SET deleted_at = NULL, deleted_reason = NULL, text = 'back' WHERE title = 'c'")
        )
    found = Backfill(bench.replica, "drift", BackfillScope.of_fids([AUTHOR])).execute().reconciled.drift
    assert found == {"notes": 3}
    assert bench.tables.live("notes", COLUMNS) == LIVE_ROWS
    kinds = bench.rows("SELECT kind, key->>'title' AS title FROM pipeline.drift WHERE table_name = 'notes' ORDER BY 2")
    assert [tuple(row) for row in kinds] == [("different", "a"), ("missing", "b"), ("phantom", "c")]


def test_only_what_concerns_a_target_is_kept(database: Database, tmp_path: Path) -> None:
    options: dict[str, Any] = {"targets": "set", "root_fids": frozenset({7})}
    with served() as hub, workbench(database, tmp_path / "lake", hub.url, **options) as bench:
        bench.run()
        assert bench.tables.live("notes", COLUMNS) == [(3, "b", "withNUL", 7)]


def test_dagster_has_an_asset_with_its_columns_and_checks() -> None:
    definitions = build_defs()
    spec = next(spec for spec in definitions.resolve_all_asset_specs() if spec.key.to_user_string() == "notes")
    schema = spec.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == [*notes.NOTES.names, "updated_at", "change_id"]
    graph = definitions.resolve_asset_graph()
    checks = {key.name for key in graph.asset_check_keys if key.asset_key == spec.key}
    casts = {key.name for key in graph.asset_check_keys if key.asset_key.to_user_string() == "casts"}
    assert checks == casts != set()


def test_the_reference_describes_it() -> None:
    section = tables_markdown().split("## notes\n")[1].split("\n## ")[0]
    assert "| `subject_fid` | bigint | Whom the note is about |" in section


def test_status_counts_its_rows(bench: Workbench) -> None:
    bench.run()
    found = next(table for table in read_status(bench.replica).tables if table.table == "notes")
    assert (found.live_rows, found.deleted_rows) == (3, 2)
