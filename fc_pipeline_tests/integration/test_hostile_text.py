"""Texts that would be commands if anything took them for more than texts: SQL, markup, escapes of terminals."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import (
    AssetKey,
    AssetRecordsFilter,
    MarkdownMetadataValue,
    PathMetadataValue,
    TableMetadataValue,
    UrlMetadataValue,
)

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.cli.main import complain
from fc_pipeline.errors import FcPipelineError
from fc_pipeline.hours import Hour
from fc_pipeline.plain_text import plain
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR,
    HOUR_UNIX,
    NOW,
    block,
    cast_add,
    link,
    merge,
    merge_chain,
    merge_proof,
    proof,
    reaction,
    user_data,
    verification,
)
from fc_pipeline_tests.support.logs import log_of
from fc_pipeline_tests.support.pipeline import open_pipeline, project_environment
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.small_hub import registered
from fc_pipeline_tests.support.workbench import Workbench, workbench

pytestmark = pytest.mark.slow

HOSTILE = (
    # The first five are what a sample in the UI shows.
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) ![y](http://127.0.0.1/z.png)",
    "\u202egnp.exe\u202c \u2066x\u2069 \u2028 \ufeff",
    "'; DROP TABLE casts; --",
    '"; DELETE FROM "casts"; --',
    "\\'; SELECT pg_terminate_backend(pg_backend_pid()); --",
    "x') ON CONFLICT DO NOTHING; TRUNCATE links; --",
    "$1 $$ $body$ :name %s %(name)s %% {0} {name} ${jndi:ldap://x} {{7*7}}",
    "\\N \\. \\x41 \\u0041 \\",
    "a\tb\nc\rd\x0be",
    "NULL",
    "[red]red[/red] [link=javascript:alert(1)]x[/link] [/] [bold",
    "\x1b[2J\x1b[31m\x1b]0;owned\x07\x1b]8;;http://evil.example\x1b\\x",
    "\x9b31m\x85\x7f",
    "👩\u200d👩\u200d👧 ‏עברית‏",
    "=cmd|' /C calc'!A0",
)
FIDS = dict(enumerate(HOSTILE, start=1))
OBEYED = {chr(n) for n in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""What a terminal obeys, and what turns letters round."""
FIELDS = ("DISPLAY", "BIO", "URL", "PFP", "LOCATION", "TWITTER")


def hostile_blocks() -> Iterator[list[bytes]]:
    for fid, text in FIDS.items():
        target = fid % len(FIDS) + 1
        yield block(
            FIRST_HEIGHT + fid,
            [
                merge_chain(registered(fid, fid)),
                merge(cast_add(fid, text, parentUrl=text, embeds=[{"url": text}])),
                merge(reaction(fid, text)),
                merge(link(fid, target, kind=text)),
                merge(verification(fid, f"0x{fid:040x}")),
                *(merge(user_data(fid, kind, text)) for kind in FIELDS),
                merge_proof(proof(text, fid, HOUR_UNIX + fid)),
                merge(user_data(fid, "USERNAME", text, NOW + 1)),
            ],
            unix=HOUR_UNIX + fid,
        )


@pytest.fixture
def hub() -> Iterator[str]:
    with serving(log_of(*hostile_blocks())) as url:
        yield url


def check_rows(bench: Workbench) -> None:
    """Every text stands where it belongs, as it was sent."""
    columns = {
        "casts": "text, parent_url, embeds->0->>'url'",
        "reactions": "target_url",
        "links": "type",
        "user_profiles": "username, display_name, bio, url, pfp_url, location, twitter",
        "username_proofs": "name",
    }
    for table, named in columns.items():
        rows = bench.rows(f"SELECT fid, {named} FROM {table} WHERE deleted_at IS NULL ORDER BY fid")
        assert [(row[0], set(row[1:])) for row in rows] == [(fid, {text}) for fid, text in FIDS.items()], table
    for table in (*columns, "verifications", "user_data", "on_chain_events", "embeds", "fid_activity"):
        assert bench.rows(f"SELECT count(*) AS n FROM {table}")[0].n > 0, table
    assert bench.quarantine() == []


def test_by_the_feed_and_by_snapshots_texts_are_nothing_but_texts(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path, hub: str
) -> None:
    scope = BackfillScope.of_fids(set(FIDS))
    with workbench(database, tmp_path / "lake", hub) as fed:
        fed.run()
        check_rows(fed)
        fed.rebuild()
        again = Backfill(fed.replica, "run", scope).execute()
        assert (dict(again.reconciled.drift), dict(again.reconciled.history)) == ({}, {})
        check_rows(fed)
    with fresh_database(postgres) as other, workbench(other, tmp_path / "other" / "lake", hub) as snapshots:
        Backfill(snapshots.replica, "run", scope).execute()
        snapshots.run()
        check_rows(snapshots)


def test_neither_the_ui_nor_a_terminal_gets_anything_to_obey(database: Database, tmp_path: Path, hub: str) -> None:
    with open_pipeline(database, tmp_path / "data", hub) as pipeline:
        assert pipeline.materialize(hour=Hour.from_key(HOUR)).success
        for table in DATA_TABLES:
            wanted = AssetRecordsFilter(AssetKey(table), asset_partitions=[HOUR])
            (record,) = pipeline.instance.fetch_materializations(wanted, limit=1).records
            assert record.asset_materialization is not None
            metadata = record.asset_materialization.metadata
            # What the UI would make links or formatted text of.
            for entry in metadata.values():
                assert not isinstance(entry, MarkdownMetadataValue | UrlMetadataValue | PathMetadataValue)
            if not pipeline.bench.rows(f"SELECT FROM {table}"):  # of what none of these users does
                continue
            sample = metadata["sample"]
            assert isinstance(sample, TableMetadataValue)
            cells = [cell for row in sample.records for cell in row.data.values()]
            assert cells
            assert all(isinstance(cell, str) and not OBEYED & (set(cell) - {"\n", "\t"}) for cell in cells)
            if table == "user_profiles":
                names = {row.data["fid"]: row.data["display_name"] for row in sample.records}
                assert set(names) == {str(fid) for fid in range(1, 6)}
                assert names == {str(fid): plain(FIDS[int(fid)]) for fid in map(int, names)}

        with pipeline.bench.replica.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE casts SET text = reverse(text)")
            connection.exec_driver_sql("DELETE FROM links")
            connection.exec_driver_sql("UPDATE user_data SET value = value || 'x'")
        done = subprocess.run(
            [sys.executable, "-m", "fc_pipeline.cli", "verify", "--fids", f"1-{len(FIDS)}"],
            env=project_environment(**pipeline.environment),
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 1, done.stderr
        said = done.stdout.decode()
        assert not OBEYED & (set(said) - {"\n"})
        assert not OBEYED & (set(done.stderr.decode()) - {"\n"})
        assert "[red]red[/red] [link=javascript:alert(1)]x[/link]" in said or "[bold" in said
        as_json = subprocess.run(
            [*done.args, "--json"], env=project_environment(**pipeline.environment), capture_output=True, timeout=120
        )
        assert not OBEYED & (set(as_json.stdout.decode()) - {"\n"})
        assert len(json.loads(as_json.stdout)["differences"]) > len(FIDS)


def test_an_error_of_strange_words_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    for text in HOSTILE:
        complain(FcPipelineError(text, hint=text))
    said = capsys.readouterr().err
    assert not OBEYED & (set(said) - {"\n", "\t"})
    assert said.count("[red]red[/red] [link=javascript:alert(1)]x[/link] [/] [bold") == 2


def test_a_text_without_anything_to_obey_stays_as_it_is() -> None:
    assert plain("👩\u200d👩\u200d👧 ‏עברית‏ 日本語 é\n\t\\x1b") == "👩\u200d👩\u200d👧 ‏עברית‏ 日本語 é\n\t\\x1b"
    assert plain("a\nb\t\x1b[0m\ud800\u202e", one_line=True) == "a\\nb\\t\\x1b[0m\\ud800\\u202e"
