"""The whole product as a newcomer meets it: `fc-pipeline up`, and the Dagster UI in a real browser.

Screenshots are left in pytest's folder for this test (`--basetemp` says where).
"""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS
from fc_pipeline_tests.support.up import Up, data_dir, marked, running_servers  # noqa: F401  # pyright: ignore[reportUnusedImport]

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

WebDriverException: Any = pytest.importorskip("selenium.common").WebDriverException

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
TIMEOUT_SECONDS = 180.0
"""Until something that does not come counts as missing."""
GROUPS = ("raw_log", "hub", "message_sets", "profiles", "channels", "storage", "activity", "targets", "snapshots")
SHOWN = {"raw_log": (RAW_LOG, "9 / 9 Passed"), "hub": ("closed_hours",)}
"""What a group's lineage shows beside its tables."""
FIRST = SAMPLE_HOURS[0]

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None, reason="chromium and chromedriver are not installed"
)


class Browser:
    """Headless Chromium on the Dagster UI."""

    def __init__(self, ui_url: str, folder: Path) -> None:
        self.ui_url = ui_url
        self.folder = folder
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--window-size=2400,4000", f"--user-data-dir={folder / 'profile'}"),
        ):
            options.add_argument(argument)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
        self.driver.set_script_timeout(TIMEOUT_SECONDS)  # reading a page waits for whatever draws it

    def open(self, path: str) -> None:
        self.driver.get(self.ui_url + path)

    def text(self) -> str:
        """What is to be read on the page now."""
        return self.driver.execute_script("return document.body.innerText")

    def wait_for(self, *words: str) -> str:
        """The page's text once all of the words are there."""

        def text_with_words() -> str | None:
            text = self.text()
            return text if all(word in text for word in words) else None

        return until(text_with_words, lambda: f"{[w for w in words if w not in self.text()]} not in: {self.text()}")

    def click(self, xpath: str) -> None:
        def clicked() -> bool:
            found = self.driver.find_elements("xpath", xpath)
            if not found:
                return False
            try:
                found[-1].click()
            except WebDriverException:  # it was just drawn again, or is still covered
                return False
            return True

        until(clicked, lambda: f"{xpath} is not there: {self.text()}")

    def fill(self, xpath: str, text: str) -> None:
        """Replace what a field holds, and press Enter."""
        select_all, enter = "\ue009a", "\ue007"
        self.driver.find_elements("xpath", xpath)[-1].send_keys(select_all, "\ue000", text, enter)

    def edit(self, text: str) -> None:
        """Replace what the page's editor holds."""
        editor = self.driver.find_elements("css selector", ".CodeMirror")[0]
        self.driver.execute_script("arguments[0].CodeMirror.setValue(arguments[1])", editor, text)

    def shot(self, name: str) -> None:
        self.driver.save_screenshot(str(self.folder / f"{name}.png"))


def until(look: Callable[[], Any], complaint: Callable[[], str]) -> Any:
    """What `look` gives once it is something."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.2)
    return found


@pytest.fixture
def up(data_dir: Path) -> Iterator[Up]:  # noqa: F811
    started = Up(data_dir, free_port())
    started.wait_until_up()
    yield started
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGINT)
        started.process.wait(TIMEOUT_SECONDS)


@pytest.fixture
def browser(up: Up, tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(up.ui_url, tmp_path)
    yield opened
    opened.driver.quit()


def rows_of(data_dir: Path, table: str) -> int:  # noqa: F811
    with closing(psycopg2.connect(EmbeddedPostgres(data_dir).url())) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 WHERE to_regclass(%s) IS NOT NULL", (table,))
        if cursor.fetchone() is None:
            return 0
        cursor.execute(f"SELECT count(*) FROM {table} WHERE deleted_at IS NULL")
        return cursor.fetchall()[0][0]


def ask(ui_url: str, query: str, **variables: Any) -> dict[str, Any]:
    answer = httpx.post(f"{ui_url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def launch_backfill(ui_url: str) -> str:
    """Start a backfill of all assets over the sample's hours, as the UI's button does."""
    launch = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    wanted = {
        "assetSelection": [{"path": [asset]} for asset in (RAW_LOG, *DATA_TABLES)],
        "partitionNames": [hour.key for hour in SAMPLE_HOURS],
    }
    answer = ask(ui_url, launch, p=wanted)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return answer["backfillId"]


def backfill(ui_url: str, backfill_id: str) -> dict[str, Any]:
    query = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
        status runs { status tags { key value } } error { message } } } }"""
    return ask(ui_url, query, id=backfill_id)["partitionBackfillOrError"]


def runs_of_hour(ui_url: str, asset: str) -> list[str]:
    """The states of the runs that somebody launched by hand for an hour of an asset, newest first."""
    query = """query($tags: [ExecutionTag!]) { runsOrError(filter: { tags: $tags, pipelineName: "__ASSET_JOB" }) {
        ... on Runs { results { status assetSelection { path } } } } }"""
    runs = ask(ui_url, query, tags=[{"key": "dagster/partition", "value": FIRST.key}])["runsOrError"]["results"]
    return [run["status"] for run in runs if {"path": [asset]} in (run["assetSelection"] or [])]


@pytest.mark.slow
def test_a_newcomer_finds_data_lineage_checks_and_buttons(up: Up, browser: Browser, data_dir: Path):  # noqa: F811
    for table in ("casts", "user_profiles"):
        until(lambda table=table: rows_of(data_dir, table), lambda: up.output.read_text())
    backfill_id = launch_backfill(up.ui_url)

    expanded = "%2C".join(f"global%40global%3A{group}" for group in GROUPS)
    browser.open(f"/asset-groups?expanded={expanded}")
    browser.wait_for(*GROUPS)
    browser.shot("lineage")
    for group in GROUPS:  # all at once are too many for a window
        tables = [name for name, table in DATA_TABLES.items() if table.group == group]
        browser.open(f"/locations/fc_pipeline/asset-groups/{group}/lineage")
        graph = browser.wait_for(*tables, *SHOWN.get(group, ()))
        browser.shot(f"lineage_of_{group}")
        assert "Unsynced" not in graph
        assert "Failed" not in graph

    browser.open(f"/assets/casts?view=partitions&partition={FIRST.key}")
    page = browser.wait_for("Materialized", "rows_inserted", "run_rows_inserted", "lag_seconds", "sample")
    browser.shot("casts_partition")
    assert "Unsynced" not in page

    browser.open(f"/assets/{RAW_LOG}?view=checks")
    checks = ("coverage_without_holes", "files_as_written", "quarantine_share", "fresh", "no_open_gaps")
    page = browser.wait_for(*checks)
    browser.shot("checks")
    assert page.count("Succeeded") >= 7
    assert "Not Evaluated" not in page

    browser.open("/runs")
    browser.wait_for("micro_batches", "hub_event_sensor", "Success", "Started")
    browser.shot("runs")

    browser.open("/automation")
    browser.wait_for("hub_event_sensor", "target_sensor", "close_hour", "hourly_targets", "daily_maintenance")

    browser.open("/assets/casts?view=partitions")
    browser.wait_for("Partitions Selected")
    browser.click("//button[starts-with(normalize-space(.), 'Materialize')]")
    browser.wait_for("Launch runs to materialize casts")
    field = "//*[@role='dialog' or contains(@class, 'ialog')]//input[@type='text' or not(@type)]"
    browser.fill(field, FIRST.key)
    browser.wait_for("1 partition")
    browser.shot("dialog")
    browser.click("//button[starts-with(normalize-space(.), 'Launch') and not(@disabled)]")
    until(lambda: runs_of_hour(up.ui_url, "casts")[:1] == ["SUCCESS"], lambda: str(runs_of_hour(up.ui_url, "casts")))

    done = until(
        lambda: (found := backfill(up.ui_url, backfill_id))["status"].startswith("COMPLETED") and found,
        lambda: str(backfill(up.ui_url, backfill_id)),
    )
    assert done["status"] == "COMPLETED_SUCCESS", done
    assert [run["status"] for run in done["runs"]] == ["SUCCESS"]  # one run for the whole range

    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(TIMEOUT_SECONDS) == 0
    assert marked(data_dir) == {}
    assert running_servers(data_dir) == set()
