"""docs/contributing.md: the files that it lists are those that an event and a snapshot pass through."""

import importlib
import re
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import sqlalchemy as sa

import fc_pipeline
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.conftest import fresh_database
from fc_pipeline_tests.docs.pages import ROOT
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.workbench import Workbench, workbench

PACKAGE = Path(fc_pipeline.__path__[0])
NOT_RUN_HERE = "fc_pipeline/orchestration/"
"""A run is called directly, as the asset calls it."""


def files_of(heading: str) -> set[str]:
    """The files in the table below a heading."""
    section = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8").partition(f"\n## {heading}")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return set(re.findall(r"`(fc_pipeline/[\w/]+\.py)`", "\n".join(rows)))


@contextmanager
def calls() -> Generator[set[str]]:
    """The files of the package of which a function is called meanwhile, by any thread that starts meanwhile."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(PACKAGE)):
            called.add(Path(file).relative_to(PACKAGE.parent).as_posix())

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]


def forget_what_is_cached(files: set[str]) -> None:
    """Statements are composed once per process: here they are to be composed again."""
    for file in files:
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        for member in vars(module).values():
            clear: Callable[[], None] | None = getattr(member, "cache_clear", None)
            if clear is not None:
                clear()


@pytest.fixture(scope="module")
def bench(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    lines = list(generate(3, fids=20, events=600, events_per_second=60.0, start_unix=HOUR_UNIX))
    lake = tmp_path_factory.mktemp("ways") / "lake"
    with (
        fresh_database(postgres) as database,
        serving(log_from_lines(lines)) as url,
        workbench(database, lake, url) as made,
    ):
        yield made


def test_an_event_passes_through_the_files_listed(bench: Workbench) -> None:
    listed = files_of("The way of one event")
    forget_what_is_cached(listed)
    with calls() as called:
        bench.run()
    assert bench.rows("SELECT count(*) FROM casts WHERE deleted_at IS NULL")[0][0] > 0
    assert {file for file in listed if not file.startswith(NOT_RUN_HERE)} <= called


def test_a_snapshot_passes_through_the_files_listed(bench: Workbench) -> None:
    listed = files_of("The way of one snapshot")
    forget_what_is_cached(listed)
    with bench.replica.engine.begin() as connection:  # so that there is something to correct
        fid = connection.scalar(sa.text("SELECT fid FROM casts WHERE deleted_at IS NULL ORDER BY hash LIMIT 1"))
        connection.execute(
            sa.text("UPDATE casts SET text = 'wrong' WHERE fid = :fid AND deleted_at IS NULL"), {"fid": fid}
        )
    with calls() as called:
        Backfill(bench.replica, "backfill", BackfillScope.of_fids([fid])).execute()
    assert bench.rows("SELECT count(*) FROM casts WHERE text = 'wrong'")[0][0] == 0
    assert {file for file in listed if not file.startswith(NOT_RUN_HERE)} <= called
