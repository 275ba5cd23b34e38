"""The functions and views for readers, as the files in `sql/` declare them, in order.

Each begins with lines `-- name: schema.name`, `-- group: …`, `-- description: …` and, where there is something to try,
`-- example: …` (several lines are joined), and goes on to the next `-- name:`. A declaration stands after what it
reads. `-- shape: name` begins the columns, one per line with its meaning, that functions have in common which declare
`RETURNS TABLE (shape name)`.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

__all__ = ["SCHEMAS", "ServedObject", "Shape", "ShownColumn", "digest", "served_objects", "shapes"]

SCHEMAS: Final = ("api", "neynar", "dune")
"""The schemas of readers, in the order in which they are made."""
_FILES: Final = (
    *("api", "api_forms", "api_casts", "api_feeds", "api_search", "api_users", "api_notifications", "api_statistics"),
    *("neynar", "dune"),
)

_PART: Final = re.compile(r"^(?=-- (?:name|shape): )", re.MULTILINE)
_COLUMN: Final = re.compile(r"^(\"?\w+\"?) (.+?),? -- (.+)$")
_SHAPED: Final = re.compile(r"\(shape (\w+)\)")
_HEAD: Final = re.compile(r"^-- (name|group|description|example): (.*)$")
_KIND: Final = re.compile(r"^CREATE OR REPLACE (FUNCTION|VIEW) ([a-z_]+\.[a-z0-9_]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """One column of a shape."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns that several functions return."""

    name: str
    columns: tuple[ShownColumn, ...]

    @property
    def sql(self) -> str:
        """As `RETURNS TABLE` has them."""
        return f"({', '.join(f'{column.name} {column.type}' for column in self.columns)})"


@dataclass(frozen=True, slots=True)
class ServedObject:
    """One function or view, with the statement that makes it, in place of an older one.

    `shape` is the name of the columns that it returns, if other functions have them, too; `file` is in the folder
    `sql`.
    """

    name: str
    kind: str
    group: str
    description: str
    example: str
    create: str
    file: str
    shape: str | None = None

    @property
    def schema(self) -> str:
        """The schema that it is in."""
        return self.name.split(".")[0]


@cache
def served_objects() -> tuple[ServedObject, ...]:
    """All of them, in the order in which they are made. Raises ValueError for a declaration that lacks a part."""
    known = shapes()
    return tuple(_object(part, file, known) for file, part in _parts() if part.startswith("-- name: "))


@cache
def shapes() -> dict[str, Shape]:
    """The shapes that functions return, by name."""
    found = [_shape(part) for _, part in _parts() if part.startswith("-- shape: ")]
    return {one.name: one for one in found}


@cache
def _parts() -> tuple[tuple[str, str], ...]:
    """Each declaration, with its file."""
    folder = resources.files("fc_pipeline.serving") / "sql"
    files = [file for name in _FILES if (file := folder / f"{name}.sql").is_file()]
    texts = [(file.name, file.read_text(encoding="utf-8")) for file in files]
    return tuple((name, part) for name, text in texts for part in _PART.split(text) if part.startswith("-- "))


def _shape(part: str) -> Shape:
    head, *lines = part.strip().splitlines()
    columns: list[ShownColumn] = []
    for line in lines:
        match = _COLUMN.match(line)
        if match is None:
            raise ValueError(f"{head}: no column with its meaning: {line}")
        columns.append(ShownColumn(match[1], match[2], match[3]))
    return Shape(head.removeprefix("-- shape: "), tuple(columns))


def _object(part: str, file: str, known: dict[str, Shape]) -> ServedObject:
    heads: dict[str, list[str]] = {"name": [], "group": [], "description": [], "example": []}
    body: list[str] = []
    for line in part.splitlines():
        if not body and (match := _HEAD.match(line)):
            heads[match[1]].append(match[2])
        elif body or line.strip():
            body.append(line)
    create = "\n".join(body).strip()
    name, made, shaped = " ".join(heads["name"]), _KIND.search(create), _SHAPED.search(create)
    if made is None or made[2] != name or not heads["group"] or not heads["description"]:
        raise ValueError(f"{name}: wants a group, a description and one CREATE OR REPLACE of that name")
    texts = {kind: " ".join(lines) for kind, lines in heads.items() if kind != "example"}
    return ServedObject(
        name,
        made[1].lower(),
        texts["group"],
        texts["description"],
        "\n".join(heads["example"]),
        create=_SHAPED.sub(lambda match: known[match[1]].sql, create),
        file=file,
        shape=shaped[1] if shaped else None,
    )


@cache
def digest() -> str:
    """Tells this release's declarations from another's."""
    return hashlib.sha256("\n".join(one.create for one in served_objects()).encode()).hexdigest()[:16]
