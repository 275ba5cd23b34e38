"""Every table damaged by hand: the check is red, and the command that its description prints, run as printed, heals."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.config.project import project_root
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.checks.rows import evaluate_rows
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.damage import CHANGED, FEW_IN_SAMPLES, invent
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database


def damage(pipeline: Pipeline, table: str) -> None:
    """Up to 200 rows deleted, 20 changed and 5 invented, as somebody with psql does it; of few rows one or two each."""
    changed = 1 if table in FEW_IN_SAMPLES else 20
    key = ", ".join(DATA_TABLES[table].key)
    some = f"SELECT {key} FROM {table} ORDER BY {key}"
    change, _, where = CHANGED[table].partition(" WHERE ")
    statements = (
        invent(table, 5),
        f"UPDATE {table} SET {change} WHERE ({key}) IN ({some} LIMIT {changed}) AND ({where})",
        f"DELETE FROM {table} WHERE ({key}) IN ({some} OFFSET {changed} LIMIT 200)",
    )
    with pipeline.bench.replica.engine.begin() as connection:
        for statement in statements:
            assert connection.execute(sa.text(statement)).rowcount


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """An empty pipeline that reads the committed sample."""
    data_dir: Path = tmp_path_factory.mktemp("pipeline")
    with sample_hub() as url, fresh_database(postgres) as database, open_pipeline(database, data_dir, url) as opened:
        yield opened


# A process of Dagster for each table.
@pytest.mark.slow
def test_the_command_that_a_red_check_prints_heals_each_table(pipeline: Pipeline) -> None:
    pipeline.bench.run("fill", HourWindow(SAMPLE_HOURS[0], SAMPLE_HOURS[-1]), (RAW_LOG, *DATA_TABLES))
    before = pipeline.tables()
    for table in DATA_TABLES:
        damage(pipeline, table)
        (red,) = evaluate_rows(pipeline.bench.replica, [table])
        assert not red.passed, table
        said = re.fullmatch(r".* Remedy: (?:\S*/)?(dagster asset materialize .*)", red.description or "")
        assert said is not None, red.description
        program, *arguments = shlex.split(said[1])
        assert re.search(r"--partition(-range)? 2026-11-01-\d\d:00", said[1]), said[1]
        done = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            env=pipeline.environment,
            cwd=project_root(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        (green,) = evaluate_rows(pipeline.bench.replica, [table])
        assert green.passed, (table, green.description)
    assert pipeline.tables() == before
