"""Statements with named parameters, for a session of either driver: SQLAlchemy's and the writers'."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

__all__ = ["Query", "absent", "numbered", "query_of"]

_NUMBERED: Final = postgresql.dialect(paramstyle="numeric_dollar")
_ABSENT: Final = sa.text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NULL")
MAX_STATEMENTS: Final = 256


class Query(Protocol):
    """Executes statements in the caller's transaction."""

    def __call__(self, statement: sa.TextClause, /, **parameters: Any) -> Sequence[tuple[Any, ...]]:
        """Execute one; its rows."""
        ...


def query_of(connection: sa.Connection) -> Query:
    """That of a connection of SQLAlchemy."""

    def query(statement: sa.TextClause, /, **parameters: Any) -> Sequence[tuple[Any, ...]]:
        return [tuple(row) for row in connection.execute(statement, parameters)]

    return query


def absent(connection: sa.Connection, names: Sequence[str]) -> set[str]:
    """Those of these tables and views, named with their schema, that the database lacks."""
    return set(connection.execute(_ABSENT, {"names": list(names)}).scalars())


@lru_cache(maxsize=MAX_STATEMENTS)
def numbered(statement: sa.TextClause) -> tuple[str, tuple[str, ...]]:
    """The statement with `$1`…, as Postgres itself has it, and the names of these parameters in order."""
    compiled = statement.compile(dialect=_NUMBERED)
    return str(compiled), tuple(compiled.positiontup or ())
