"""Log records as JSON: every line one object, whatever is in it, and its fields those of the template."""

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.json_lines import JsonFormatter


def line_of(template: str, *args: Any, level: int = logging.INFO, error: BaseException | None = None) -> dict[str, Any]:
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("fc_pipeline.feed", level, __file__, 1, template, args, info)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    return json.loads(line)


def fields_of(template: str, *args: Any) -> dict[str, Any]:
    line = line_of(template, *args)
    assert {line.pop(name) for name in ("time", "level", "logger")} >= {"info", "fc_pipeline.feed"}
    assert line.pop("message") == (template % args if args else template)
    return line


@pytest.mark.parametrize(
    ("template", "args", "fields"),
    [
        (
            "micro_batch shard=%d heights=%d-%d postgres_ms=%d",
            (1, 7, 9, 12.7),
            {"event": "micro_batch", "shard": 1, "heights": "7-9", "postgres_ms": 12},
        ),
        (
            "hub_left hub=%s rest_seconds=%.0f reason=%r",
            ("h", 2.6, "a=b c"),
            {"hub": "h", "rest_seconds": 3, "reason": "a=b c"},
        ),
        ("stopped run=%s", ("r",), {"event": "stopped", "run": "r"}),
        ("block_incomplete shard=%d height=%d: the hub deletes it", (1, 2), {"shard": 1, "height": 2}),
        ("clocks_apart run=%s: %s", ("r", "x=1"), {"event": "clocks_apart", "run": "r"}),
        ("of %d%% and %s left=%s", (5, "x", None), {"left": None}),
        ("fids_left_out count=%s reason='beyond 2^63, all'", (3,), {"count": 3, "reason": "beyond 2^63, all"}),
        ("redis_warmed held=%s such_as=%s", (True, [1]), {"held": True, "such_as": "[1]"}),
        ("lag seconds=%s", (float("nan"),), {"event": "lag", "seconds": "nan"}),
        ("redis_not_repaired: it went away", (), {"event": "redis_not_repaired"}),
        ("project: %s (this folder is none)", ("/x",), {}),
    ],
)
def test_fields_are_those_of_the_template(template: str, args: tuple[Any, ...], fields: dict[str, Any]):
    found = fields_of(template, *args)
    assert {name: value for name, value in found.items() if name != "event" or name in fields} == fields


@given(st.text(), st.text())
def test_no_value_poses_as_another_field(hub: str, reason: str):
    assert fields_of("hub_left hub=%s reason=%r", hub, reason) == {"event": "hub_left", "hub": hub, "reason": reason}


def test_a_field_cannot_take_the_place_of_what_every_line_has():
    line = line_of("lied level=%s time=%s", "none", "never")
    assert line["level"] == "info"
    assert line["time"] != "never"


def test_a_traceback_is_in_its_field():
    try:
        raise ValueError("a\nb\x1b[2J")
    except ValueError as error:
        line = line_of("failed run=%s", "r", level=logging.ERROR, error=error)
    assert line["level"] == "error"
    assert line["traceback"].endswith("ValueError: a\nb\x1b[2J")
    assert line["traceback"].startswith("Traceback (most recent call last)")
