"""docs/contributing.md: the files it lists are those whose functions an event, or a snapshot's record, passes through.

A cast with a text of its own is followed: whenever a function of the package is left, its variables and what it returns
are searched for that text.
"""

import dataclasses
import json
import re
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pyarrow as pa
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
MAX_DEPTH = 6
"""How deep lists, structs and the like are searched."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """A replica to be filled, and the text and author of the cast that is followed."""

    bench: Workbench
    text: str
    fid: int


def listed(heading: str) -> tuple[list[str], set[str]]:
    """The files in the table below a heading, and those in the text around it."""
    section = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8").partition(f"\n## {heading}")[2]
    lines = section.partition("\n## ")[0].splitlines()
    files = re.compile(r"`(fc_pipeline/[\w/]+\.py)`")
    table = files.findall("\n".join(line for line in lines if line.startswith("|")))
    return table, set(files.findall("\n".join(line for line in lines if not line.startswith("|"))))


def holds(value: object, text: str, depth: int = MAX_DEPTH) -> bool:
    """Whether a value is, or has somewhere within, this text."""
    match value:
        case bytes() | bytearray() | msgspec.Raw():
            return text.encode() in bytes(value)
        case str():
            return text in value
        case pa.Table() | pa.RecordBatch():
            return any(holds(column.to_pylist(), text, 1) for column in value.columns)
        case pa.Array() | pa.ChunkedArray():
            return holds(value.to_pylist(), text, 1)
        case dict():
            parts = list(value.values())
        case list() | tuple() | set() | frozenset():
            parts = list(value)
        case msgspec.Struct():
            parts = [getattr(value, name) for name in value.__struct_fields__]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
        case _:
            return False
    return depth > 0 and any(holds(part, text, depth - 1) for part in parts)


@contextmanager
def followed(text: str) -> Generator[set[str]]:
    """The files of the package whose functions hold the text meanwhile, in any thread that starts meanwhile."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, returned: Any) -> None:
        path = frame.f_code.co_filename
        if event != "return" or not path.startswith(f"{PACKAGE}/"):
            return
        file = Path(path).relative_to(PACKAGE.parent).as_posix()
        if file not in found:
            sys.setprofile(None)
            # An object that keeps the event for others, such as a queue's, is not searched.
            variables = [value for name, value in frame.f_locals.items() if name not in ("self", "cls")]
            if holds([*variables, returned], text):
                found.add(file)
            sys.setprofile(note)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]


def cast_to_follow(lines: list[bytes]) -> tuple[str, int]:
    """Text and author of a cast that nothing else in the log has the text of, and that is never taken away."""
    log = b"\n".join(lines)
    for line in lines:
        message = (json.loads(line).get("mergeMessageBody") or {}).get("message", {})
        body = message.get("data", {}).get("castAddBody")
        named = [log.count(one.encode()) for one in (body["text"], message["hash"])] if body else []
        if body and len(body["text"]) > 20 and named == [1, 1]:
            return body["text"], message["data"]["fid"]
    raise AssertionError("the sample has no such cast")


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    lines = list(generate(3, fids=20, events=600, events_per_second=60.0, start_unix=HOUR_UNIX))
    lake = tmp_path_factory.mktemp("ways") / "lake"
    with (
        fresh_database(postgres) as database,
        serving(log_from_lines(lines)) as url,
        workbench(database, lake, url) as bench,
    ):
        yield Scene(bench, *cast_to_follow(lines))


def test_an_event_passes_through_the_files_listed_and_no_other(scene: Scene) -> None:
    on_the_way, beside = listed("The way of one event")
    with followed(scene.text) as found:
        scene.bench.run()
    assert scene.bench.rows("SELECT count(*) FROM casts WHERE text = :text", text=scene.text)[0][0] == 1
    assert set(on_the_way) <= found
    assert found <= {*on_the_way, *beside}
    assert len(on_the_way) == len(set(on_the_way)) <= 12


def test_a_record_of_a_snapshot_passes_through_the_files_listed_and_no_other(scene: Scene) -> None:
    on_the_way, beside = listed("The way of one snapshot")
    with scene.bench.replica.engine.begin() as connection:  # so that there is something to correct
        connection.execute(sa.text("DELETE FROM casts WHERE text = :text"), {"text": scene.text})
    with followed(scene.text) as found:
        Backfill(scene.bench.replica, "backfill", BackfillScope.of_fids([scene.fid])).execute()
    assert scene.bench.rows("SELECT count(*) FROM casts WHERE text = :text", text=scene.text)[0][0] == 1
    assert set(on_the_way) <= found
    assert found <= {*on_the_way, *beside}
    assert len(on_the_way) == len(set(on_the_way)) <= 10
