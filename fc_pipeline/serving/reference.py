"""The reference of the calls for readers, made from their declarations: `python -m fc_pipeline.serving.reference`."""

import re
import sys
from collections.abc import Iterator

from fc_pipeline.serving.objects import ServedObject, Shape, served_objects, shapes

__all__ = ["api_markdown"]

_HEAD = """# Calls for apps

Schema `api`: SQL functions over the tables, whose names, arguments and columns stay while tables change. Made by \
`make docs` from the declarations in `fc_pipeline/serving/sql/`. The names of others are in schemas `neynar` and \
`dune`.

```sql
-- A home feed: page by page.
SELECT username, text, likes, replies, next_cursor FROM api.following_feed(viewer => 3);
SELECT username, text, likes, replies, next_cursor FROM api.following_feed(viewer => 3, cursor => NULL);
```

**Rows** are live ones: what was removed, pruned or revoked is in no answer. Hashes are text, `0x` and lower hex; \
hashes that you pass may be without `0x` and in upper case. Columns may be added behind the others: name those that \
you read.

**Network time** orders everything: the time of the block that brought a message, or, where only a hub's by-FID \
answer told of it, what its author says (`coalesce(block_time, "timestamp")`). Newest first, conversations oldest \
first; of two at once the one with the greater hash (or FID) comes first.

**Pages** have `page_size` rows, 25 by default and 100 at most. Each row has a `next_cursor`; pass the last row's as \
`cursor`, with the same other arguments, for what comes behind it. A page that is not full is the last. A cursor says \
where a row stands, not how many came before: rows that arrive meanwhile neither repeat nor skip one. Do not take \
cursors apart. Rankings (`top_casts`, `trending`) change as likes come: give `trending` the same `until` on every \
page. Lists by key (`users`, `casts_by_hash`, …) take 100 keys.

**A viewer**, where one is given, is not shown casts and users that she blocks or that block her, and rows say what \
she likes and follows. `viewer_liked` goes by the author that the like names.

**Bad input** is an error (`22023`) with a hint.

**Roles**: all calls run with the rights of whoever calls. `fc_reader` of [roles.sql](roles.sql) may call all of them.

**A new replica** gets the indexes that only readers need when nothing is missing but of the present hour: `up` makes \
them by itself (sensor `index_sensor`, job `make_indexes`), and so does `sync` at its end. Until then answers are the \
same, and slow.

**Repairs**: the schemas are made by migrations, and again by the next start where something of them is missing, as \
after `DROP TABLE … CASCADE`. Make nothing of your own in them; views of yours on them, in a schema of yours, stay.

## A copy elsewhere

`api.changes_since` reads what has changed, for a search engine, a cache or a warehouse.

1. Note `SELECT api.change_horizon()`.
2. Copy the table as a whole, in a later statement. Rows with `deleted_at` are tombstones.
3. Then, again and again: `SELECT * FROM api.changes_since('casts', …)` with the greatest `change_id` so far. Put each \
`row` in the place of the one with its key; where `is_removed`, delete the row with that key. Save the greatest \
`change_id` with what you wrote. A row may come again that you have already: the same again does no harm.

Nothing is missed, however many write at once: what a transaction changed is shown when all that began before it have \
ended, so a transaction that stays open, anyone's, holds changes back.

A table that was dropped is filled anew with new change ids: what it lacks then was not removed row by row, so copy \
it again. So does a server to which the database was moved by a dump begin its own count: a `change_id` that is ahead \
of it is refused (`22023`), one that is not goes unnoticed. After a move, copy again.
"""
_GROUPS = {
    "feeds": "Feeds",
    "casts": "Casts",
    "search": "Search",
    "users": "Users",
    "follows": "Follows",
    "viewer": "What a viewer has done",
    "notifications": "Notifications",
    "statistics": "Statistics",
    "changes": "Changes",
    "forms": "What the calls are made of",
}
_SIGNATURE = re.compile(r"FUNCTION\s+(api\.\w+\(.*?\))\s+RETURNS\s+(.*?)\s+LANGUAGE", re.DOTALL)


def api_markdown() -> str:
    """The reference as Markdown."""
    ours = [one for one in served_objects() if one.schema == "api"]
    lines = [_HEAD]
    for group, title in _GROUPS.items():
        lines.append(f"## {title}\n")
        for one in ours:
            if one.group == group:
                lines.extend(_call(one))
    lines += [line for shape in shapes().values() for line in _columns(shape)]
    return "\n".join(lines)


def _call(one: ServedObject) -> Iterator[str]:
    match = _SIGNATURE.search(one.create)
    if match is None:
        raise ValueError(f"{one.name}: no function with a result")
    arguments, result = (" ".join(part.split()) for part in match.groups())
    if one.shape is not None:
        result = f"[{one.shape}s](#columns-of-a-{one.shape})"
    else:
        result = f"`{result.removeprefix('TABLE ')}`"
    yield f"`{arguments}` → {result}\n"
    yield f"{one.description}\n"
    if one.example:
        yield f"```sql\n{one.example}\n```\n"


def _columns(shape: Shape) -> Iterator[str]:
    yield f"## Columns of a {shape.name}\n"
    yield "| column | type | |\n|---|---|---|"
    for column in shape.columns:
        name, text = column.name.strip('"'), column.description.replace("|", "\\|")
        yield f"| `{name}` | {column.type} | {text} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(api_markdown())
