"""What a folded log takes on disk: by table per row, by index per row of its table, and in all per message.

The figures of docs/postgres.md and of tables/index_bytes.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fc_pipeline.live_set.upkeep import digest_keeper
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline.store import later_indexes
from fc_pipeline_tests.benchmarks.catch_up import catch_up
from fc_pipeline_tests.benchmarks.stage import hub_process, open_stage

__all__ = ["stored_bytes"]

_MIN_ROWS = 1_000
"""Of fewer rows the first pages are most of it."""
_INDEXES = sa.text(
    "SELECT i.relname, round(pg_relation_size(i.oid)::numeric / n.rows, 1)::float AS bytes "
    "FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid "
    "CROSS JOIN LATERAL (SELECT t.reltuples::bigint AS rows) AS n "
    "WHERE t.relnamespace = 'public'::regnamespace AND n.rows >= :min_rows ORDER BY t.relname, i.relname"
)
_TABLES = sa.text(
    "SELECT n.nspname || '.' || t.relname AS name, t.reltuples::bigint AS rows, "
    "round(pg_table_size(t.oid)::numeric / t.reltuples::numeric)::int AS table_bytes, "
    "round(pg_indexes_size(t.oid)::numeric / t.reltuples::numeric)::int AS index_bytes "
    "FROM pg_class AS t JOIN pg_namespace AS n ON n.oid = t.relnamespace "
    "WHERE n.nspname IN ('public', 'pipeline') AND t.relkind = 'r' AND t.reltuples >= :min_rows "
    "ORDER BY pg_total_relation_size(t.oid) DESC"
)
_MESSAGES = sa.text(
    "SELECT (SELECT count(*) FROM casts) + (SELECT count(*) FROM reactions) + (SELECT count(*) FROM links) "
    "+ (SELECT count(*) FROM user_data) + (SELECT count(*) FROM verifications)"
)


def stored_bytes(folder: Path, log_path: Path) -> dict[str, dict[str, Any]]:
    """Catch up with a hub that has the log, every index there from the start, and look at the files."""
    with open_stage(folder) as stage, hub_process("--log", str(log_path)) as hub_url:
        settings = stage.settings(hub_url)
        with open_replica(settings) as replica:
            later_indexes.make(replica.engine)
            caught_up = catch_up(replica)
            shard_count = replica.shard_count()
            assert shard_count is not None
            with digest_keeper(replica, "bench", shard_count) as keeper:
                keeper.refresh()
            return _looked_at(replica, caught_up)


def _looked_at(replica: Replica, caught_up: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    with replica.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE)")
        parameters = {"min_rows": _MIN_ROWS}
        tables = {row.name: row._asdict() for row in connection.execute(_TABLES, parameters)}
        indexes: dict[str, Any] = {row.relname: row.bytes for row in connection.execute(_INDEXES, parameters)}
        messages = connection.execute(_MESSAGES).scalar_one()
        database = connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one()
    log = sum(path.stat().st_size for path in Path(replica.settings.lake_uri).rglob("*.parquet"))
    events = caught_up["events"]
    return {
        "index_bytes": indexes,
        **{f"stored {name}": row for name, row in tables.items()},
        "stored": {
            "messages": messages,
            "events": events,
            "database_bytes_per_message": round(database / messages),
            "log_bytes_per_event": round(log / events),
        },
    }
