"""Every signed message of the recordings, whatever the answer it stands in."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["messages_in", "recorded_messages"]


def recorded_messages(folder: Path) -> list[dict[str, Any]]:
    """The messages below a folder, each once, as the hubs wrote them."""
    found = {
        (message["hash"], message["data"]["type"]): message
        for text in _texts(folder)
        for message in messages_in(_parsed(text))
    }
    return list(found.values())


def _texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.json")):
        yield path.read_text(encoding="utf-8", errors="replace")
    for path in sorted(folder.rglob("*.ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from lines


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # an error page among the answers
        return None


def messages_in(value: Any) -> Iterator[dict[str, Any]]:
    """The messages anywhere in a value of JSON."""
    if isinstance(value, dict):
        if _is_message(value):
            yield value
        if isinstance(value.get("body"), str):
            yield from messages_in(_parsed(value["body"]))
        for part in value.values():
            yield from messages_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from messages_in(part)


def _is_message(value: dict[str, Any]) -> bool:
    data = value.get("data")
    texts = isinstance(value.get("hash"), str) and isinstance(value.get("signature"), str)
    return texts and isinstance(data, dict) and isinstance(data.get("type"), str)
