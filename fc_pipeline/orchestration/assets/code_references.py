"""Links on an asset's page to the lines that declare what it is made of."""

import ast
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from dagster import BetaWarning, CodeReferencesMetadataValue, LocalFileCodeReference
from dagster._core.definitions.metadata.source_code import CodeReference

import fc_pipeline

__all__ = ["code_references"]

_PACKAGE: Final = Path(fc_pipeline.__path__[0])
_SQL_NAME: Final = "-- name: "


def code_references(places: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of a definition; `places` maps labels to a file of the package and a name that it declares.

    Such as `{"reader": "feed/drain.py:Drain"}`. Raises ValueError where the file declares no such name.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)  # a label on a page: nothing depends on it
        references: list[CodeReference] = [_reference(label, *place.split(":")) for label, place in places.items()]
        return {"dagster/code_references": CodeReferencesMetadataValue(code_references=references)}


def _reference(label: str, path: str, name: str) -> CodeReference:
    file = _PACKAGE / path
    line = (_sql_lines(file) if file.suffix == ".sql" else _python_lines(file)).get(name)
    if line is None:
        raise ValueError(f"{path} declares no {name}")
    return LocalFileCodeReference(file_path=str(file), line_number=line, label=label.replace("_", " "))


@cache
def _python_lines(file: Path) -> dict[str, int]:
    """Where each name of a module is declared: its first decorator, if it has one."""
    found: dict[str, int] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node.lineno for target in targets if isinstance(target, ast.Name)}
    return found


@cache
def _sql_lines(file: Path) -> dict[str, int]:
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    return {line.removeprefix(_SQL_NAME): number for number, line in lines if line.startswith(_SQL_NAME)}
