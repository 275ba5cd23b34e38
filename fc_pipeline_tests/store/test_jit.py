"""No plan of ours is compiled, where the server compiles every plan."""

from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.backfill.verify import verify
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.crash_scene import lines_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.stock_server import INSTALLED, UNSAFE, stock_server
from fc_pipeline_tests.support.workbench import workbench

COMPILES_ALL = {
    **UNSAFE,
    "jit": "on",
    "jit_above_cost": "0",
    "shared_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
}

BEFORE_IT_IS_OURS = (
    "SELECT version()",
    "FROM pg_catalog.pg_type",
    "pg_catalog.pg_attribute\n",
    "current_setting('server_encoding')",
    "set_config('jit'",
)
"""What ADBC asks by itself as it connects, and the statement that makes a session ours: cheap where JIT has a cost."""


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="Debian's package postgresql is not installed")
def test_no_plan_of_a_run_a_backfill_and_verify_is_compiled(tmp_path: Path) -> None:
    with stock_server(INSTALLED[-1], COMPILES_ALL) as server:
        with psycopg2.connect(server.url()) as plain, plain.cursor() as cursor:
            cursor.execute("SELECT sum(n) FROM generate_series(1, 1000) AS n WHERE n % 7 = 3")
        plain.close()
        if "JIT:" not in server.log.read_text():
            pytest.skip("this Postgres was built without a compiler of plans")
        before = len(server.log.read_text())
        database = Database("postgres", server.url(), server.url(), sa.create_engine(server.url()))
        with (
            serving(log_from_lines(lines_of(3, 120, fids=8))) as hub,
            workbench(database, tmp_path / "lake", hub) as bench,
        ):
            bench.run()
            Backfill(bench.replica, "backfill", BackfillScope()).execute()
            assert verify(bench.replica).drift == 0
        database.engine.dispose()
        plans = server.log.read_text()[before:].split("LOG:  duration: ")
    assert any("INSERT INTO public.casts" in plan for plan in plans)  # those of merges are among them
    compiled = [plan for plan in plans if "JIT:" in plan]
    assert [plan for plan in compiled if not any(words in plan for words in BEFORE_IT_IS_OURS)] == []
