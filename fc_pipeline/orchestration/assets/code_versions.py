"""The code version of a table: it changes when how its rows come about does, and not with the release.

It is a digest of the table's columns and key, and of the code of its module without comments and docstrings. What all
tables share, such as the fold, has no part in it.
"""

import ast
import hashlib
from pathlib import Path
from typing import Final

import fc_pipeline
from fc_pipeline.tables.columns import DataTable

__all__ = ["code_version_of", "digest_of"]

_TABLES: Final = Path(fc_pipeline.__path__[0]) / "tables"
_DIGITS: Final = 12


def code_version_of(table: DataTable) -> str:
    """The code version of a table that has a module of its name."""
    columns = [(column.name, column.type.postgres, column.nullable) for column in table.columns]
    return digest_of((_TABLES / f"{table.name}.py").read_text(encoding="utf-8"), repr((columns, table.key)))


def digest_of(source: str, *declared: str) -> str:
    """A digest of code, as far as it does anything, and of what is declared."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_text(one)]
    return hashlib.sha256("\0".join((ast.dump(tree), *declared)).encode()).hexdigest()[:_DIGITS]


def _is_text(statement: ast.stmt) -> bool:
    """A docstring of a module, a class, a function or a constant."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
