"""How tests call schema `api`: one call, or its pages to the end."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fc_pipeline_tests.serving.plain_model import Shown

__all__ = ["ask", "walk"]


def ask(connection: sa.Connection, call: str, /, **values: Any) -> list[Shown]:
    """The rows of `api.call(…)`, by column."""
    given = ", ".join(f"{key} => :{key}" for key in values)
    rows = connection.execute(sa.text(f"SELECT * FROM api.{call}({given})"), values).mappings()
    return [_with_times(dict(row)) for row in rows]


def _with_times(row: Shown) -> Shown:
    """What JSON has as text."""
    for embed in row.get("embeds", ()):
        if embed.get("cast", {}).get("network_time"):
            embed["cast"]["network_time"] = datetime.fromisoformat(embed["cast"]["network_time"])
    return row


def walk(
    connection: sa.Connection,
    call: str,
    page_size: int,
    /,
    between: Callable[[int], None] = lambda page: None,
    **values: Any,
) -> list[Shown]:
    """All pages, one behind the other; `between` is called after each. The cursors are left out."""
    found: list[Shown] = []
    cursor: str | None = None
    for page in range(1_000):
        rows = ask(connection, call, page_size=page_size, cursor=cursor, **values)
        found += [{key: value for key, value in row.items() if key != "next_cursor"} for row in rows]
        if len(rows) < page_size:
            return found
        cursor = rows[-1]["next_cursor"]
        between(page)
    raise AssertionError(f"the pages of {call} do not end")
