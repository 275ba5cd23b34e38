"""The reference of the tables, made from their declarations: `python -m fc_pipeline.tables.reference`."""

import sys
from collections.abc import Iterator

from fc_pipeline.tables.columns import DataTable, Index
from fc_pipeline.tables.counts import COUNT_TABLES, CountTable
from fc_pipeline.tables.index_bytes import INDEX_BYTES
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline.tables.storage import STORAGE_VIEW, View

__all__ = ["tables_markdown"]

_HEAD = """# Tables

Schema `public`. Made by `make docs` from the declarations in `fc_pipeline/tables/`. What an index takes per row of its
table was measured where a generated log had been folded; an index made at once over all rows is smaller.

A row is live if `deleted_at` is null. `version` is the id of the event that last decided the row: an event changes
a row only if its own id is higher. Deleted rows keep their key only, so that a late older event cannot bring them back.

`block_time` is the time of the block of the event that decided the row, `timestamp` what the user claims. Feeds and
indexes go by network time, `coalesce(block_time, "timestamp")`: only rows that nothing but a by-FID answer told of have
no block time.

`change_id` is the id of the transaction here that last changed the row, and `updated_at` when that transaction began
(`changed_at` in `user_profiles`, whose `updated_at` is that of its newest message), a microsecond later in a row that a
fold found there and changed: by that it counts what is new. The database sets both, whoever changes a row; a row that
is deleted without a tombstone leaves its key in `pipeline.removals`. They are of this replica: a table that is made
again has new ones. To keep a copy elsewhere, ask `api.changes_since`, which has rows and removals:
[api.md](api.md#a-copy-elsewhere). A plain `WHERE change_id > …` misses what transactions that began earlier commit
later. `fid_activity` has no index on it, and the tables of counts have none.

`cast_threads` has the root of each live cast, the author and URL of that, and the depth below it. A chain of parents
ends at a cast that replies to none, or at a parent that is not here, not yet here, or deleted: the highest ancestor
that is known of is the root, whether it is here or not. When a parent comes or goes, all that is below it gets its new
root. `cast_counts` and `user_counts` count live rows of this database: with FC_TARGETS=set they count what is kept, not
what the network has. Threads and counts change in the transaction that changes what they follow from, so they equal the
tables at every moment.

```sql
-- The users that FID 3 follows, and which of them follow back.
SELECT f.target_fid, p.username, b.fid IS NOT NULL AS follows_back
FROM links f
LEFT JOIN links b ON b.fid = f.target_fid AND b.target_fid = f.fid AND b.type = 'follow' AND b.deleted_at IS NULL
LEFT JOIN user_profiles p ON p.fid = f.target_fid
WHERE f.fid = 3 AND f.type = 'follow' AND f.deleted_at IS NULL;

-- The largest threads that casts of the last day belong to.
SELECT t.root_hash, k.casts, k.depth, r.text FROM (
  SELECT DISTINCT root_hash FROM cast_threads JOIN casts c USING (hash) WHERE c.block_time > now() - interval '1 day') t
CROSS JOIN LATERAL (
  SELECT count(*) AS casts, max(depth) AS depth FROM cast_threads a WHERE a.root_hash = t.root_hash) k
LEFT JOIN casts r ON r.hash = t.root_hash AND r.deleted_at IS NULL ORDER BY k.casts DESC LIMIT 20;

-- The casts that a user received most likes for.
SELECT c.text, k.likes, k.recasts, k.replies, k.quotes FROM casts c JOIN cast_counts k USING (hash)
WHERE c.fid = 3 AND c.deleted_at IS NULL ORDER BY k.likes DESC LIMIT 20;

-- What was done in the last day, by hour, and how many users did or received it.
SELECT hour, sum(casts) AS casts, sum(likes) AS likes, count(*) AS users
FROM fid_activity WHERE hour >= now() - interval '1 day' GROUP BY hour ORDER BY hour;

-- Which apps made the casts of the last day.
SELECT c.app_fid, p.username AS app, count(*) AS casts
FROM casts c LEFT JOIN user_profiles p ON p.fid = c.app_fid
WHERE c.deleted_at IS NULL AND c.timestamp > now() - interval '1 day' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 20;

-- Whose storage runs out within a month, and how much of it.
SELECT s.fid, p.username, s.unit_type, s.net AS units, s.next_expiry
FROM storage s LEFT JOIN user_profiles p ON p.fid = s.fid
WHERE s.next_expiry < now() + interval '1 month' ORDER BY s.next_expiry LIMIT 20;

-- Who quotes a cast.
SELECT e.fid, p.username, e.timestamp FROM embeds e LEFT JOIN user_profiles p ON p.fid = e.fid
WHERE e.cast_hash = '\\xbab8da9fed7545b88c03e44cf7daf16ec71b9275' ORDER BY e.timestamp;

-- Who moderates a channel: its owner, and its moderators.
SELECT c.fid, p.username, 'owner' AS role
FROM channels c LEFT JOIN user_profiles p ON p.fid = c.fid WHERE c.channel_key = 'music' AND c.fid IS NOT NULL
UNION ALL SELECT m.fid, p.username, m.state
FROM channels c JOIN channel_members m USING (channel_id) LEFT JOIN user_profiles p ON p.fid = m.fid
WHERE c.channel_key = 'music' AND m.state = 'moderator' AND m.deleted_at IS NULL;
```

`embeds`, `cast_threads`, `cast_mentions`, `signers`, `storage_rents`, `tier_purchases`, `user_profiles`, `channels` and
`channel_follows` are derived from the others in the transaction that changes these: a row of them is there exactly as
long as its sources say so. `storage_lends` and the tables of channels, all but `channel_follows`, have what the feed
brought since the replica began: their past is not read from a hub. A channel's owner is known from verifications that
are live here; nodes also count those that were pruned for want of storage, and none from before protocol V21.
Gasless keys (KEY_ADD) leave no trace in a feed, and a removed one cannot be read back: `gasless_keys` has what a hub
said each time it was asked, and `signers` has them beside the keys of the key registry. What was added and removed
between two readings is unknown, and messages that it signed have no `app_fid`, as those signed by a key have that is
not read yet. `last_used_at` and `expires_at` are as of the last reading (`gasless_keys.read_at`), `removed_at` is when
the key was first missed; the uses of a key of the registry nobody tells. With FC_TARGETS=set only targets' messages
have an `app_fid`.

Schema `pipeline` has the pipeline's own tables: the ledger (`coverage`), `gaps`, `quarantine`, `drift`, `removals`,
`targets` and others, described in [concepts.md](concepts.md#words). Read them; let only fc_pipeline write them.
"""

_YOUR_OWN = """## Your own tables, views, indexes and grants

The database may hold objects of yours. fc_pipeline creates and migrates its own tables and looks at no others.

| your own | what becomes of it |
|---|---|
| table, view or function with a name of its own, in `public` or another schema | left alone, by starts, migrations \
and `up` |
| table in `public` with the name of one of ours | refused: the first start fails; use a schema of your own |
| index on one of our tables | kept and maintained by Postgres: through starts, migrations, backfills, comparisons \
with the hub, and hours materialised again; each one makes folding slower |
| view or materialized view over our tables | kept, through the same. A migration that changes a column that it uses \
fails whole, and names the view: drop it, start again, create it |
| view over one of ours in schema `neynar` or `dune` | kept, as long as ours has the same columns; a start of a \
release that changes them fails whole, and names yours |
| view or function in schema `api`, `neynar` or `dune` | left alone, unless a later release has one of that \
name: use a schema of your own |
| trigger on one of our tables | fires within the micro-batch: if it fails, the micro-batch does |
| foreign key to one of our tables | not advised: what would delete a row that it refers to, such as a repair, \
fails |
| column added to one of our tables | kept, null in rows that we insert; a later release may use its name |
| grant on one of our tables | kept by migrations |
| row inserted into one of our tables | found as invented by [`rows_match_log`](checks.md#rows_match_log) \
or as drift, and deleted |

If you drop one of our tables, write `DROP TABLE … CASCADE`: Postgres refuses it otherwise, for views read most of
them: `storage`, and those of the schemas `neynar` and `dune`. The next start creates the table with its columns, key
and indexes, and makes these views again; until then queries of them, and functions of schema `api` that read the table,
fail. The sensor (or `fc-pipeline sync`) fills it from the raw log; a derived one, and one of counts, is filled at once.
Your own indexes, triggers and grants on a table, and your views over it or over one of those views, are gone with it:
keep their SQL in a file and run it again. Grants by [roles.sql](roles.sql) return by themselves, because its default
privileges hold for every later table.

In a schema of your own nothing can collide with a later release:

```sql
CREATE SCHEMA mine;
CREATE VIEW mine.daily_casts AS
SELECT date_trunc('day', timestamp) AS day, count(*) AS casts FROM casts WHERE deleted_at IS NULL GROUP BY 1;
CREATE INDEX casts_text_search_mine ON casts USING gin (to_tsvector('simple', text)) WHERE deleted_at IS NULL;
```
"""


def tables_markdown() -> str:
    """The reference as Markdown."""
    sections = [line for table in ALL_TABLES.values() for line in _section(table)]
    counts = [line for table in COUNT_TABLES for line in _counts(table)]
    return "\n".join([_HEAD, *sections, *counts, *_view("storage", STORAGE_VIEW), _YOUR_OWN])


def _section(table: DataTable) -> Iterator[str]:
    yield f"## {table.name}\n\n{table.description} Key: `{', '.join(table.key)}`.\n"
    yield "| column | type | |\n|---|---|---|"
    for column in table.shown_columns:
        text = column.description.replace("|", "\\|")
        yield f"| `{column.name}` | {column.type.postgres} | {text} |"
    yield ""
    yield "Indexes, and what each serves:\n"
    yield from (f"- {text}" for text in _indexes(table))
    yield ""


def _counts(table: CountTable) -> Iterator[str]:
    yield f"## {table.name}\n\n{table.description} Key: `{table.key.name}`. What has nothing to count has no row.\n"
    yield "| column | type | | counted in |\n|---|---|---|---|"
    yield f"| `{table.key.name}` | {table.key.type.postgres} | {table.key.description} | |"
    for one in table.counts:
        yield f"| `{one.name}` | bigint | {one.description} | `{one.source.name}`, by `{one.key}` |"
    yield ""
    yield "Indexes, and what each serves:\n"
    yield f"- the primary key `({table.key.name})`: the counts of a key{_bytes(f'{table.name}_pkey')}"
    yield ""


def _view(name: str, view: View) -> Iterator[str]:
    yield f"## {name}\n\n{view.description}\n"
    yield "| column | meaning |"
    yield "|---|---|"
    yield from (f"| `{column}` | {text} |" for column, text in view.columns.items())
    yield ""


def _indexes(table: DataTable) -> Iterator[str]:
    yield f"the primary key `({', '.join(table.key)})`: the row of a key{_bytes(f'{table.name}_pkey')}"
    for index in table.indexes:
        yield _index(index) + _bytes(table.index_name(index))


def _index(index: Index) -> str:
    where = f" where `{index.where}`" if index.where else ""
    kind = "" if index.method == "btree" else f" ({index.method.upper()})"
    later = " (of a new replica: made when it has caught up)" if index.is_made_later else ""
    return f"`({', '.join(index.expressions or index.columns)})`{where}{kind}: {index.serves}{later}"


def _bytes(index: str) -> str:
    """What an index takes, where that was measured."""
    found = INDEX_BYTES.get(index)
    return "" if found is None else f"; {found} bytes per row" if found >= 1 else "; under 1 byte per row"


if __name__ == "__main__":
    sys.stdout.write(tables_markdown())
