"""What each index takes per row of its table once a generated log is folded: the figures of tables/index_bytes.py."""

from pathlib import Path

import sqlalchemy as sa

from fc_pipeline.replica import open_replica
from fc_pipeline.store import later_indexes
from fc_pipeline_tests.benchmarks.catch_up import catch_up
from fc_pipeline_tests.benchmarks.stage import hub_process, open_stage

__all__ = ["index_bytes"]

_MIN_ROWS = 1_000
"""Of fewer rows an index's first pages are most of it."""
_SIZES = sa.text(
    "SELECT i.relname, round(pg_relation_size(i.oid)::numeric / n.rows, 1)::float AS bytes "
    "FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid "
    "CROSS JOIN LATERAL (SELECT t.reltuples::bigint AS rows) AS n "
    "WHERE t.relnamespace = 'public'::regnamespace AND n.rows >= :min_rows ORDER BY t.relname, i.relname"
)


def index_bytes(folder: Path, log_path: Path) -> dict[str, float]:
    """Bytes per row of the table, by the index's name, of tables with enough rows."""
    with open_stage(folder) as stage, hub_process("--log", str(log_path)) as hub_url:
        settings = stage.settings(hub_url)
        with open_replica(settings) as replica:
            later_indexes.make(replica.engine)
            catch_up(replica)
            with replica.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("ANALYZE")
                return {row.relname: row.bytes for row in connection.execute(_SIZES, {"min_rows": _MIN_ROWS})}
