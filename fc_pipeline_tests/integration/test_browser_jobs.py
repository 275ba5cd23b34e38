"""What people come to the UI for, by clicking: checks, numbers of an hour, backfills of ranges, a schedule off and on.

One `up` is shared by all tests here. Screenshots are left in pytest's folder (`--basetemp` says where).
"""

import signal
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import sqlalchemy as sa

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.checks.catalog import ALL_CHECKS
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store.partition_start import day_of, move_back
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.integration.test_browser import TIMEOUT_SECONDS, Browser, ask, until
from fc_pipeline_tests.integration.test_browser import pytestmark as needs_chromium
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS
from fc_pipeline_tests.support.up import Up, stop_all

pytestmark = [needs_chromium, pytest.mark.slow]

FIRST, _, LAST = SAMPLE_HOURS
EARLIER = Hour.from_key("2026-10-20-07:00")
BUCKETS = "000...063"
MAX_PAGE_BYTES = 500 * 10**6
CHECKS: dict[str, set[str]] = {}
for _key in (key for checks in ALL_CHECKS for key in checks.check_keys):
    CHECKS.setdefault(_key.asset_key.to_user_string(), set()).add(_key.name)
DIALOG_FIELD = "//*[@role='dialog' or contains(@class, 'ialog')]//input[@type='text' or not(@type)]"


@dataclass(frozen=True)
class Scene:
    """An `up` that has the sample's hours, and a browser on its UI."""

    up: Up
    browser: Browser

    def ask(self, query: str, **variables: Any) -> Any:
        """The one field that a query asks for."""
        (answer,) = ask(self.up.ui_url, query, **variables).values()
        return answer

    def sql(self, query: str, *values: Any) -> tuple[Any, ...]:
        """The first row of a query's answer, past the pipeline."""
        with (
            closing(psycopg2.connect(EmbeddedPostgres(self.up.data_dir).url())) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, values)
            return cursor.fetchall()[0]

    def runs(self) -> dict[str, dict[str, Any]]:
        """Every run that a person launched, by id."""
        found = self.ask(
            """{ runsOrError { ... on Runs { results { runId status tags { key value }
            assetCheckSelection { name assetKey { path } } } } } }"""
        )["results"]
        automatic = {"dagster/sensor_name", "dagster/schedule_name"}
        return {run["runId"]: run for run in found if not automatic & {tag["key"] for tag in run["tags"]}}

    def launched_by(self, clicking: str, checks: Collection[tuple[str, str]] = ()) -> str:
        """The run that a click launches: of these checks and no others, if any are named."""
        before = set(self.runs())
        self.browser.click(clicking)

        def launched() -> list[str]:
            runs = self.runs()
            return [one for one in runs if one not in before and (not checks or _checks_of(runs[one]) == set(checks))]

        return until(launched, lambda: f"no run came: {clicking} {checks}")[0]

    def wait_until_done(self, run_ids: Iterable[str]) -> None:
        """Until the runs have ended, each of them well; dozens share a queue, so what is timed is the next one."""
        waiting = set(run_ids)

        def ended() -> dict[str, str]:
            runs = self.runs()
            states = {run_id: runs[run_id]["status"] for run_id in waiting}
            return {run_id: state for run_id, state in states.items() if state in {"SUCCESS", "FAILURE", "CANCELED"}}

        def complaint() -> str:
            return f"{len(waiting)} runs wait and none of them ends: {waiting}"

        while waiting:
            done = until(ended, complaint)
            assert set(done.values()) == {"SUCCESS"}, done
            waiting -= set(done)

    def materialized(self, asset: str) -> int:
        """How many partitions of an asset are materialised."""
        query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
            partitionStats { numMaterialized } } } }"""
        return self.ask(query, key={"path": [asset]})["partitionStats"]["numMaterialized"]

    def numbers_of_hour(self, asset: str, hour: Hour, *keys: str) -> list[int]:
        """What stands beside these keys on the page of an asset's partition."""
        self.browser.open(f"/assets/{asset}?view=partitions&partition={hour.key}")
        self.browser.wait_for("Materialized", *keys)
        cells = "[...document.querySelectorAll('tr')].map(row => [...row.children].map(cell => cell.innerText.trim()))"
        rows = {row[0]: row[1] for row in self.browser.driver.execute_script(f"return {cells}") if len(row) > 1}
        return [int(rows[key]) for key in keys]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("up")
    data_dir = folder / "data"
    try:
        up = Up(data_dir, free_port())
        up.wait_until_up()
        browser = Browser(up.ui_url, folder)
        try:
            scene = Scene(up, browser)
            for asset in (RAW_LOG, *DATA_TABLES):
                until(lambda asset=asset: scene.materialized(asset) >= len(SAMPLE_HOURS), up.output.read_text)
            yield scene
        finally:
            browser.driver.quit()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(TIMEOUT_SECONDS) == 0
    finally:
        stop_all(data_dir)


def test_the_partitions_of_an_asset_are_a_light_page(scene: Scene, tmp_path: Path):
    fresh = Browser(scene.up.ui_url, tmp_path)
    try:
        started = time.monotonic()
        fresh.open("/assets/casts?view=partitions")
        fresh.wait_for("Partitions Selected", "Materialized (")
        seconds = time.monotonic() - started
        processes = psutil.Process(fresh.driver.service.process.pid).children(recursive=True)
        renderers = [one for one in processes if "--type=renderer" in one.cmdline()]
        page_bytes = max(one.memory_info().rss for one in renderers)
        fresh.shot("partitions")
    finally:
        fresh.driver.quit()
    # Time is the machine's; with a partition for each hour since 2021 it was a minute and gigabytes.
    print(f"{seconds:.1f} s from a cold browser, {page_bytes / 1e6:.0f} MB")
    assert page_bytes < MAX_PAGE_BYTES


def test_every_check_is_executed_by_its_own_button_and_all_by_one(scene: Scene):
    together = {asset: _launch_all(scene, asset) for asset in CHECKS}
    scene.wait_until_done(together.values())
    alone = {(asset, name): _launch_one(scene, asset, name) for asset in CHECKS for name in sorted(CHECKS[asset])}
    scene.wait_until_done(alone.values())
    for (asset, name), run_id in alone.items():
        results = _results(scene, asset, name)
        for one in (run_id, together[asset]):
            assert results[one]["status"] == "SUCCEEDED", (asset, name, results[one])
            assert results[one]["evaluation"]["metadataEntries"], (asset, name)
    for asset, names in CHECKS.items():
        scene.browser.open(f"/assets/{asset}?view=checks")
        scene.browser.wait_for("Latest execution", "Passed", "Metadata", *names)
        until(lambda names=names: scene.browser.text().count("Succeeded") == len(names), scene.browser.text)
    scene.browser.shot("checks")


def _launch_all(scene: Scene, asset: str) -> str:
    scene.browser.open(f"/assets/{asset}?view=checks")
    scene.browser.wait_for("Execute all", *CHECKS[asset])
    wanted = {(asset, name) for name in CHECKS[asset]}
    return scene.launched_by("//button[normalize-space(.)='Execute all' and not(@disabled)]", wanted)


def _launch_one(scene: Scene, asset: str, name: str) -> str:
    if f"/assets/{asset}?" not in scene.browser.driver.current_url:
        scene.browser.open(f"/assets/{asset}?view=checks")
    scene.browser.click(f"//*[@title='{name}']")
    scene.browser.wait_for(f".md#{name}")
    return scene.launched_by("//button[normalize-space(.)='Execute' and not(@disabled)]", {(asset, name)})


def _checks_of(run: dict[str, Any]) -> set[tuple[str, str]]:
    return {(check["assetKey"]["path"][0], check["name"]) for check in run["assetCheckSelection"] or ()}


def _results(scene: Scene, asset: str, name: str) -> dict[str, dict[str, Any]]:
    """The results of a check, by run."""
    query = """query($key: AssetKeyInput!, $name: String!) {
        assetCheckExecutions(assetKey: $key, checkName: $name, limit: 100) {
            runId status evaluation { metadataEntries { label } } } }"""
    return {one["runId"]: one for one in scene.ask(query, key={"path": [asset]}, name=name)}


def test_an_hour_that_is_read_again_shows_its_totals(scene: Scene):
    """As `close_hour` does it: nothing is missing any more, so the run itself does nothing."""
    scene.browser.open("/locations/fc_pipeline/jobs/micro_batches/playground")
    scene.browser.wait_for("Launch Run", "No errors")
    scene.browser.edit("ops: {micro_batch: {config: {rebuild: false, compact: true}}}")
    scene.browser.fill("//input[@placeholder='Partition']", FIRST.key)
    run = scene.launched_by("//button[starts-with(normalize-space(.), 'Launch Run') and not(@disabled)]")
    scene.wait_until_done([run])

    (events,) = scene.sql("SELECT sum(events)::bigint FROM pipeline.coverage WHERE partition = %s", FIRST.key)
    keys = ("events", "dagster/partition_row_count", "events_unaccounted", "run_events")
    assert scene.numbers_of_hour(RAW_LOG, FIRST, *keys) == [events, events, 0, 0]
    assert events > 0
    scene.browser.shot("hub_events_partition")
    for table in ("casts", "fid_activity"):
        rows = scene.sql(
            "SELECT sum(rows_inserted)::bigint, sum(rows_updated)::bigint, sum(rows_deleted)::bigint "
            "FROM pipeline.hour_rows WHERE partition = %s AND table_name = %s",
            *(FIRST.key, table),
        )
        keys = ("rows_inserted", "rows_updated", "rows_deleted", "run_rows_inserted")
        assert scene.numbers_of_hour(table, FIRST, *keys) == [*rows, 0]
        assert rows[0] > 0
    scene.browser.shot("table_partition")


def test_lineage_leads_from_a_table_to_what_it_is_made_from(scene: Scene):
    scene.browser.open("/assets/user_profiles")
    scene.browser.wait_for("sql_example", "runbook", "columns and rows", "in editor")
    scene.browser.click("//a[@role='tab' and @title='Lineage']")
    scene.browser.wait_for("user_profiles", "user_data", "verifications", "on_chain_events")
    scene.browser.shot("lineage_of_user_profiles")
    scene.browser.click("//a[normalize-space(.)='Lineage' and starts-with(@href, '/asset-groups')]")
    scene.browser.wait_for("raw_log", "message_sets", "profiles", "activity", "targets", "snapshots")


def test_a_range_of_hours_is_backfilled(scene: Scene):
    scene.browser.open("/assets/casts?view=partitions")
    scene.browser.wait_for("Partitions Selected")
    scene.browser.click("//button[starts-with(normalize-space(.), 'Materialize')]")
    scene.browser.wait_for("Launch runs to materialize casts")
    scene.browser.fill(DIALOG_FIELD, f"[{FIRST.key}...{LAST.key}]")
    dialog = scene.browser.wait_for("3 partitions", "Launch backfill")
    assert "may fail" not in dialog
    scene.browser.shot("backfill_dialog")
    scene.browser.click("//button[normalize-space(.)='Launch backfill' and not(@disabled)]")
    query = """{ partitionBackfillsOrError(limit: 1) { ... on PartitionBackfills { results { id status } } } }"""
    until(
        lambda: [one["status"] for one in scene.ask(query)["results"]] == ["COMPLETED_SUCCESS"],
        lambda: str(scene.ask(query)),
    )
    scene.browser.open("/runs")
    scene.browser.click("//*[@role='tab' and starts-with(normalize-space(.), 'Backfills')]")
    scene.browser.click("//a[starts-with(@href, '/runs/b/')]")
    scene.browser.wait_for(f"{FIRST.key}...{LAST.key}", "casts", "100% completed")
    scene.browser.shot("backfill")


def test_a_range_of_buckets_is_backfilled(scene: Scene):
    scene.browser.open("/assets/fid_snapshots")
    scene.browser.wait_for("Never materialized", "Materialize")
    scene.browser.click("//button[starts-with(normalize-space(.), 'Materialize')]")
    dialog = scene.browser.wait_for("Launch runs to materialize fid_snapshots", "Cancel")
    scene.browser.shot("buckets_dialog")
    assert "may fail" not in dialog  # `targets` was reported, although there is no set

    scene.browser.open("/locations/fc_pipeline/jobs/snapshots/playground")
    scene.browser.wait_for("Launch Run", "No errors")
    scene.browser.edit(f'ops: {{snapshot: {{config: {{buckets: "{BUCKETS}"}}}}}}')
    scene.browser.fill("//input[@placeholder='Partition']", "000")
    scene.browser.shot("buckets_launchpad")
    run = scene.launched_by("//button[starts-with(normalize-space(.), 'Launch Run') and not(@disabled)]")
    scene.wait_until_done([run])
    assert [scene.materialized(asset) for asset in ("fid_snapshots", "reconciled_fids")] == [64, 64]


def test_a_schedule_is_switched_off_and_on(scene: Scene):
    scene.browser.open("/automation")
    scene.browser.wait_for("daily_maintenance", "close_hour", "Scheduled At")
    row = "//*[starts-with(@class, 'ListItem_listItem_') and .//*[text()='daily_maintenance']]"
    for wanted in ("STOPPED", "RUNNING"):
        scene.browser.click(f"{row}//label[contains(@class, 'formatSwitch')]")
        until(lambda wanted=wanted: _schedule_status(scene) == wanted, lambda: _schedule_status(scene))
    scene.browser.shot("automation")


def _schedule_status(scene: Scene) -> str:
    query = """query($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s) { ... on Schedule {
        scheduleState { status } } } }"""
    selector = {
        "repositoryLocationName": "fc_pipeline",
        "repositoryName": "__repository__",
        "scheduleName": "daily_maintenance",
    }
    return scene.ask(query, s=selector)["scheduleState"]["status"]


def test_partitions_begin_earlier_once_earlier_data_come(scene: Scene):
    """The definitions are loaded again by themselves, and whoever is at work then is left alone."""
    assert _first_partition(scene) == day_of(FIRST).key
    at_work = until(lambda: _states(scene, {"STARTED"}), lambda: str(_states(scene)))
    url = EmbeddedPostgres(scene.up.data_dir).url()
    engine = sa.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(url))
    move_back(engine, EARLIER)
    engine.dispose()
    until(lambda: _first_partition(scene) == day_of(EARLIER).key, lambda: str(_first_partition(scene)))
    scene.browser.open("/assets/casts?view=partitions")
    scene.browser.wait_for("Partitions Selected", day_of(EARLIER).key)
    scene.browser.shot("partitions_moved_back")
    after = _states(scene)
    assert {after[run] for run in at_work} <= {"STARTED", "SUCCESS"}


def _first_partition(scene: Scene) -> str | None:
    """None while the definitions are being loaded again."""
    query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
        partitionKeyConnection(limit: 1, ascending: true) { results } } } }"""
    found = scene.ask(query, key={"path": ["casts"]}).get("partitionKeyConnection")
    return found["results"][0] if found else None


def _states(scene: Scene, wanted: Collection[str] = ()) -> dict[str, str]:
    """What has become of each run; only of those in the states named, if any are."""
    found = scene.ask("{ runsOrError { ... on Runs { results { runId status } } } }")["results"]
    return {run["runId"]: run["status"] for run in found if not wanted or run["status"] in wanted}
