"""Log records as JSON, one object per line, with the fields that the message has as `name=value`."""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

__all__ = ["JsonFormatter"]

_PLACE: Final = r"%(?:[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]|%)"
_PLACES: Final = re.compile(_PLACE)
_FIELDS: Final = re.compile(rf"(?<![\w.])([a-z]\w*)=((?:{_PLACE}|[^\s%:,'])+|'[^']*')")
_EVENT: Final = re.compile(r"[a-z]+(?:_[a-z]+)+(?=[\s:]|$)|[a-z]+(?= [a-z]\w*=)")


class JsonFormatter(logging.Formatter):
    """A line per record: `time` (UTC), `level`, `logger`, `event`, `message`, its fields, and `traceback`.

    `event` is the word that messages of note begin with. Fields are taken from the message's template, so that no value
    of a hub's or a user's can pose as one. All that is not ASCII is escaped: nothing in a line is obeyed by a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        template = record.msg if isinstance(record.msg, str) else ""
        event = _EVENT.match(template)
        if event is not None:
            line["event"] = event[0]
        line["message"] = record.getMessage()
        for name, value in _fields(template, record.args):
            line.setdefault(name, value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, allow_nan=False)


def _fields(template: str, args: Any) -> Iterator[tuple[str, Any]]:
    """The `name=value` of a message; a value that is one argument keeps its type if JSON has it."""
    if isinstance(args, Mapping):
        return
    left = [*args] if isinstance(args, tuple) else []
    end = 0
    for field in _FIELDS.finditer(template):
        del left[: _count(template[end : field.start(2)])]
        places = _count(field[2])
        values, left, end = left[:places], left[places:], field.end(2)
        if places == 1 and _PLACES.fullmatch(field[2]):
            yield field[1], _typed(field[2], values[0])
        else:
            yield field[1], (field[2] % tuple(values)).strip("'")


def _count(text: str) -> int:
    return sum(place != "%%" for place in _PLACES.findall(text))


def _typed(place: str, value: Any) -> Any:
    """The argument as JSON has it: numbers as they are shown, what is no number nor text as text."""
    if isinstance(value, bool | str) or value is None:
        return value
    if not isinstance(value, int | float):
        return str(value)
    shown = float(place % value)
    if not isfinite(shown):
        return str(value)
    return int(shown) if shown.is_integer() and abs(shown) < 2**53 else shown if isinstance(value, float) else value
