"""Hostile names in the Dagster UI, in a real browser: seen as the texts that they are, and nothing runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.integration.test_browser import Browser, pytestmark, rows_of, until
from fc_pipeline_tests.integration.test_hostile_text import hostile_blocks
from fc_pipeline_tests.support.events import HOUR
from fc_pipeline_tests.support.logs import log_of
from fc_pipeline_tests.support.up import Up, data_dir  # noqa: F401 - data_dir is a fixture

pytestmark = [pytestmark, pytest.mark.slow]

LOOKED_AT = """return {
    links: [...document.querySelectorAll('a')].map(a => a.getAttribute('href') || '').filter(h => /script:/i.test(h)),
    elements: document.querySelectorAll("img[src='x'], img[src*='z.png'], script:not([src]):not([nonce])").length,
    dialogs: window.dialogs || 0,
}"""


@pytest.fixture
def up(data_dir: Path) -> Iterator[Up]:  # noqa: F811
    with serving(log_of(*hostile_blocks())) as hub:
        started = Up(data_dir, free_port(), FC_HUB_URLS=hub)
        started.wait_until_up()
        yield started
        started.process.terminate()
        started.process.wait(120)


def test_hostile_names_are_texts_in_the_ui(up: Up, data_dir: Path, tmp_path: Path):  # noqa: F811
    until(lambda: rows_of(data_dir, "user_profiles"), lambda: up.output.read_text())
    browser = Browser(up.ui_url, tmp_path)
    try:
        watch = "window.dialogs = 0; for (const n of ['alert', 'confirm', 'prompt']) window[n] = () => window.dialogs++"
        browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": watch})
        for asset in ("user_profiles", "casts"):
            browser.open(f"/assets/{asset}?view=partitions&partition={HOUR}")
            page = browser.wait_for("DROP TABLE casts", "<script>alert(1)</script>", "](javascript:alert(1))")
            browser.shot(f"hostile_{asset}")
            looked_at = browser.driver.execute_script(LOOKED_AT)
            assert looked_at["links"] == []
            assert looked_at["elements"] == 0
            assert looked_at["dialogs"] == 0
            assert "\u202e" not in page
    finally:
        browser.driver.quit()
