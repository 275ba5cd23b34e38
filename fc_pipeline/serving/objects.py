"""The functions and views for readers, as the files in `sql/` declare them: one schema per file, in order.

Each begins with lines `-- name: schema.name`, `-- group: …`, `-- description: …` and, where there is something to try,
`-- example: …` (several lines are joined), and goes on to the next `-- name:`. A declaration stands after what it reads.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

__all__ = ["SCHEMAS", "ServedObject", "digest", "served_objects"]

SCHEMAS: Final = ("api", "neynar", "dune")
"""The schemas of readers, each in the file of its name, in the order in which they are made."""

_HEAD: Final = re.compile(r"^-- (name|group|description|example): (.*)$")
_KIND: Final = re.compile(r"^CREATE OR REPLACE (FUNCTION|VIEW) ([a-z_]+\.[a-z0-9_]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ServedObject:
    """One function or view, with the statement that makes it, in place of an older one."""

    name: str
    kind: str
    group: str
    description: str
    example: str
    create: str

    @property
    def schema(self) -> str:
        """The schema that it is in."""
        return self.name.split(".")[0]


@cache
def served_objects() -> tuple[ServedObject, ...]:
    """All of them, in the order in which they are made. Raises ValueError for a declaration that lacks a part."""
    folder = resources.files("fc_pipeline.serving") / "sql"
    found: list[ServedObject] = []
    for schema in SCHEMAS:
        file = folder / f"{schema}.sql"
        if file.is_file():
            found += _declared(file.read_text(encoding="utf-8"))
    return tuple(found)


def _declared(text: str) -> list[ServedObject]:
    return [_object(part) for part in re.split(r"^(?=-- name: )", text, flags=re.MULTILINE)[1:]]


def _object(part: str) -> ServedObject:
    heads: dict[str, list[str]] = {"name": [], "group": [], "description": [], "example": []}
    body: list[str] = []
    for line in part.splitlines():
        if not body and (match := _HEAD.match(line)):
            heads[match[1]].append(match[2])
        elif body or line.strip():
            body.append(line)
    create = "\n".join(body).strip()
    name, made = " ".join(heads["name"]), _KIND.search(create)
    if made is None or made[2] != name or not heads["group"] or not heads["description"]:
        raise ValueError(f"{name}: wants a group, a description and one CREATE OR REPLACE of that name")
    texts = {kind: " ".join(lines) for kind, lines in heads.items() if kind != "example"}
    return ServedObject(
        name, made[1].lower(), texts["group"], texts["description"], "\n".join(heads["example"]), create
    )


@cache
def digest() -> str:
    """Tells this release's declarations from another's."""
    return hashlib.sha256("\n".join(one.create for one in served_objects()).encode()).hexdigest()[:16]
