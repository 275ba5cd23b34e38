"""What Postgres' log says of our work: nothing, for a line per statement hides the one that matters."""

from pathlib import Path
from typing import Any

import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.backfill.verify import verify
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"targets": "set", "root_fids": (3,)}], ids=["all", "set"])
def test_a_run_a_backfill_and_verify_leave_no_line_in_it(
    database: Database, postgres: EmbeddedPostgres, lake: Path, lines: list[bytes], settings: dict[str, Any]
):
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url, **settings) as bench:
        bench.run()
        Backfill(bench.replica, "backfill", BackfillScope()).execute()
        verify(bench.replica)
    logged = postgres.log_file.read_text().splitlines()
    assert [line for line in logged if f" {database.name} " in line] == []
